// What OpenAI's client for JavaScript is answered, as one JSON document on stdout.
// Arguments: base URL, a data URI of an image.
import OpenAI from "openai";

const [baseURL, image] = process.argv.slice(2);
const model = "openai/clip-vit-base-patch32";
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });

const failure = async (asked) => {
  try {
    await asked;
  } catch (error) {
    return {
      kind: error.constructor.name,
      status: error.status,
      code: error.code,
      param: error.param,
      request_id: error.requestID,
    };
  }
  throw new Error("it was answered");
};

const embedded = await client.embeddings.create({ model, input: ["a cat", image] });
const floats = await client.embeddings.create({
  model,
  input: ["a cat", image],
  encoding_format: "float",
});
const moderation = await client.moderations.create({ model: "moderation", input: image });
const parts = await client.moderations.create({
  model: "moderation",
  input: [{ type: "image_url", image_url: { url: image } }],
});
const models = [];
for await (const each of client.models.list()) models.push(each.id);

console.log(
  JSON.stringify({
    default: embedded.data.map((each) => Array.from(each.embedding)),
    floats: floats.data.map((each) => each.embedding),
    moderation,
    parts,
    models,
    retrieved: (await client.models.retrieve(model)).id,
    text: await failure(client.moderations.create({ input: "a cat" })),
    unknown: await failure(client.embeddings.create({ model: "gpt-4o", input: "a cat" })),
  }),
);
