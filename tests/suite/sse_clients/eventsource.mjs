// Prints the events of the stream at $URL, as the npm package eventsource parses them: one JSON array each.
import { createRequire } from "node:module";

const { URL: url, TOKEN, MODULES } = process.env;
const { EventSource } = createRequire(`${MODULES}/`)("eventsource");
const events = new EventSource(url, {
  fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, Authorization: `Bearer ${TOKEN}` } }),
});
for (const name of ["message", "none", "failed", "ended"]) {
  events.addEventListener(name, ({ type, lastEventId, data }) => {
    console.log(JSON.stringify([type, lastEventId, data]));
    if (name === "ended") events.close();
  });
}
