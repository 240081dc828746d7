/**
 * The JavaScript SDK of AI Hub Analytics, version << version >>.
 *
 *     import { Client } from "aihub-analytics";
 *
 *     const client = new Client("https://analytics.example", "ah_live_…");
 *     await client.sendUsage({ model: "gpt-4o", input_tokens: 812, output_tokens: 96 });
 */

export { Client } from "./client.js";
export { ApiError, ConnectionFailed, errors } from "./errors.js";
export { EventQueue, usageEvent } from "./events.js";
export { InvalidSignature, verifyWebhook } from "./webhooks.js";
