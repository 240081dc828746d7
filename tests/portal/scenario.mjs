// The scenario in JavaScript: prints one line of JSON.
import { ApiError, Client, errors } from "aihub-analytics";

const language = process.argv[2];
const client = new Client(process.env.AIHUB_URL, process.env.AIHUB_API_KEY);
const source = (await client.defaultSource()).replace(/\/[^/]*$/, `/scenario-${language}`);
const model = `scenario-${language}`;
const seen = {};

const event = (number) => ({
  specversion: "1.0",
  id: `s-${number}`,
  source,
  type: "usage.request",
  time: process.env.SCENARIO_TIME,
  data: { model, input_tokens: number, output_tokens: 1, status_code: 200 },
});
const numbers = (from, to) => Array.from({ length: to - from }, (_, at) => from + at);

const first = await client.sendEvents(numbers(1, 8).map(event));
const again = await client.sendEvents(numbers(1, 8).map(event));
seen.accepted = first.accepted;
seen.duplicate = again.duplicate;
const queue = client.eventQueue({ batchSize: 10 });
for (const number of numbers(8, 31)) queue.send(event(number));
queue.send({ ...event(31), data: { model: "x", input_tokens: -1 } });
await queue.close();
seen.queued = queue.accepted;
seen.rejected = queue.rejected.map((one) => one.verdict.code);
const sql = "select count(*) as n, sum(input_tokens) as tokens from usage_events where source = $source";
seen.rows = (await client.runQuery({ sql, params: { source } })).rows;
const metric = await client.getMetric("requests", { range: "last_7_days", today: true, filter: `model=${model}` });
seen.metric = metric.rows[0].value;
try {
  await client.getInvoice("inv_none");
} catch (error) {
  if (!(error instanceof errors.NotFound)) throw error;
  seen.error = [error.status, error.code, Boolean(error.requestId)];
}
try {
  await client.runQuery({ sql: "select nothing from nowhere" });
} catch (error) {
  if (!(error instanceof ApiError)) throw error;
  seen.query_error = error.code;
}
seen.pages = 0;
for await (const _ of client.iterateListRequests({ limit: 4, model })) seen.pages++;
const faulty = new Client(process.env.AIHUB_FAULTY_URL, process.env.AIHUB_API_KEY, { pause: 10 });
seen.retried = (await faulty.createAnnotation({ at: "2026-01-31T00:00:00Z", text: language })).text === language;
console.log(JSON.stringify(Object.fromEntries(Object.entries(seen).sort(([a], [b]) => (a < b ? -1 : 1)))));
