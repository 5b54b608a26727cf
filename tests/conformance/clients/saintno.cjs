// A whole job through @saintno/comfyui-sdk:  node saintno.cjs URL KEY COLOUR
// Modules are found through NODE_PATH. Prints what it saw as JSON.
const { ComfyApi, CallWrapper, PromptBuilder } = require("@saintno/comfyui-sdk");
const WebSocket = require("ws");

const [url, key, colour] = process.argv.slice(2);
const graph = {
  1: { class_type: "EmptyImage", inputs: { width: 64, height: 48, batch_size: 1, color: 0 } },
  2: { class_type: "ImageInvert", inputs: { image: ["1", 0] } },
  // These clients listen for the outputs once they have the answer to their prompt: it has to last longer than that takes.
  4: { class_type: "TestSleep", inputs: { image: ["2", 0], seconds: 1 } },
  3: { class_type: "SaveImage", inputs: { images: ["4", 0], filename_prefix: "saintno" } },
};

async function main() {
  const credentials = { type: "bearer_token", token: key };
  const api = new ComfyApi(url, undefined, { credentials, customWebSocketImpl: WebSocket, forceWs: true });
  await api.init(3, 500).waitForReady();
  const heard = [];
  for (const type of ["execution_start", "executing", "progress", "executed", "execution_success"])
    api.on(type, () => heard.push(type));
  const builder = new PromptBuilder(graph, ["colour"], ["images"])
    .setInputNode("colour", "1.inputs.color")
    .setOutputNode("images", "3")
    .input("colour", Number(colour));
  const result = await new Promise((resolve, reject) => {
    let promptId = null;
    new CallWrapper(api, builder)
      .onPending((id) => (promptId = id))
      .onFinished((data, id) => resolve({ data, promptId: id ?? promptId }))
      .onFailed((error) => reject(error))
      .run();
  });
  // It is content with the last output; the end is told when the result is stored.
  for (let tries = 0; tries < 500 && !heard.includes("execution_success"); tries++)
    await new Promise((resolve) => setTimeout(resolve, 10));
  const [image] = result.data.images.images;
  const picture = Buffer.from(await (await api.getImage(image)).arrayBuffer());
  const queue = await api.getQueue();
  console.log(
    JSON.stringify({
      picture: picture.toString("base64"),
      promptId: result.promptId,
      heard: [...new Set(heard)],
      waiting: queue.queue_pending.length + queue.queue_running.length,
      history: Object.keys(await api.getHistories()),
      samplers: (await api.getSamplerInfo()).sampler ? true : false,
      stats: Object.keys(await api.getSystemStats()),
    }),
  );
  api.destroy();
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
