// A whole job through @stable-canvas/comfyui-client, over its socket and by asking:  node stable_canvas.cjs URL KEY COLOUR
// It can set no header, so that the key stands in the path. Modules are found through NODE_PATH.
const { Client } = require("@stable-canvas/comfyui-client");
const WebSocket = require("ws");

const [url, key, colour] = process.argv.slice(2);
const graph = (color) => ({
  1: { class_type: "EmptyImage", inputs: { width: 64, height: 48, batch_size: 1, color } },
  2: { class_type: "ImageInvert", inputs: { image: ["1", 0] } },
  3: { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: "canvas" } },
});

async function main() {
  const client = new Client({ api_host: new URL(url).host, api_base: `/k/${key}`, WebSocket, fetch });
  await client.connect();
  const live = await client.enqueue(graph(Number(colour)), {});
  const polled = await client.enqueue_polling(graph(Number(colour) + 1), {});
  const bytes = async (output) => {
    const [image] = output.images;
    const data = image.type === "buff" ? image.data : await (await fetch(image.data)).arrayBuffer();
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
