// A whole job through @stable-canvas/comfyui-client, over its socket and by asking:  node stable_canvas.cjs URL KEY COLOUR
// Keys go with the fetch and the WebSocket that it is given, as its options allow. Modules are found through NODE_PATH.
const { Client } = require("@stable-canvas/comfyui-client");
const WebSocket = require("ws");

const [url, key, colour] = process.argv.slice(2);
const graph = (color) => ({
  1: { class_type: "EmptyImage", inputs: { width: 64, height: 48, batch_size: 1, color } },
  2: { class_type: "ImageInvert", inputs: { image: ["1", 0] } },
  // These clients listen for the outputs once they have the answer to their prompt: it has to last longer than that takes.
  4: { class_type: "TestSleep", inputs: { image: ["2", 0], seconds: 1 } },
  3: { class_type: "SaveImage", inputs: { images: ["4", 0], filename_prefix: "canvas" } },
});

const headers = { Authorization: `Bearer ${key}` };
const signed = (address, options = {}) => fetch(address, { ...options, headers: { ...options.headers, ...headers } });
class SignedSocket extends WebSocket {
  constructor(address) {
    super(address, { headers });
  }
}

async function main() {
  const client = new Client({ api_host: new URL(url).host, WebSocket: SignedSocket, fetch: signed });
  await client.connect();
  const live = await client.enqueue(graph(Number(colour)), {});
  const polled = await client.enqueue_polling(graph(Number(colour) + 1), {});
  const bytes = async (output) => {
    const [image] = output.images;
    const data = image.type === "buff" ? image.data : await (await signed(image.data)).arrayBuffer();
    return Buffer.from(data).toString("base64");
  };
  console.log(
    JSON.stringify({
      pictures: [await bytes(live), await bytes(polled)],
      promptIds: [live.prompt_id, polled.prompt_id],
      history: (await client.getHistory(10)).History.map((entry) => entry.prompt[1]),
      queue: await client.getQueue(),
      classes: Object.keys(await client.getNodeDefs()).includes("EmptyImage"),
      embeddings: await client.getEmbeddings(),
    }),
  );
  client.close();
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
