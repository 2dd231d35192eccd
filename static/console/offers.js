// The features of this deployment, from /callConfig.

import { element, fromTemplate, setText, show } from "./dom.js";
import { printed } from "./http.js";
import { Repeated } from "./repeat.js";
import { featureName } from "./words.js";

/** The panel: `{root, stop}`. */
export function offers(session) {
  const { root, parts } = fromTemplate("part-offers");
  const work = new Repeated(async () => {
    const { data } = await session.ask({ path: "/callConfig" });
    const isObject = typeof data?.features === "object" && !Array.isArray(data.features);
    const features = Object.entries((isObject && data.features) || {});
    parts.list.replaceChildren();
    // One by one: a call takes only so many arguments.
    for (const [key, value] of features) parts.list.append(feature(key, value));
    show(parts.list, features.length > 0);
    setText(parts.problem, features.length > 0 ? "" : "No features are listed.");
  });
  work.addEventListener("change", () => {
    show(parts.loading, work.succeededAt === null && !work.problem);
    if (work.problem) setText(parts.problem, "Currently not available.");
    show(parts.problem, parts.problem.textContent !== "");
  });
  work.run();
  return { root, stop: () => work.stop() };
}

/** One feature: on or off, or any other value as JSON. */
function feature(key, value) {
  const name = featureName(key);
  if (typeof value === "boolean") {
    return element("li", { class: value ? "on" : "off" }, name, element("span", { class: "state" }, value ? "on" : "off"));
  }
  return element("li", { class: "other" }, name, element("span", { class: "state" }, printed(value)));
}
