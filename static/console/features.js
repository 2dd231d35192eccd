// The features of this deployment, from /callConfig.

import { element, fromTemplate, setText, show } from "./dom.js";
import { featureName } from "./format.js";
import { toJson } from "./http.js";
import { Poller } from "./poller.js";

/** Returns the panel: `{root, stop}`. */
export function featuresPanel(session) {
  const { root, parts } = fromTemplate("part-features");
  const work = new Poller(async () => {
    const { data } = await session.request({ path: "/callConfig" });
    const isObject = typeof data?.features === "object" && !Array.isArray(data.features);
    const features = Object.entries((isObject && data.features) || {});
    parts.list.replaceChildren();
    // One by one: the number of arguments of a call is limited.
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

/** Returns the item of a feature: on, off, or any other value as JSON. */
function feature(key, value) {
  const name = featureName(key);
  if (typeof value === "boolean") {
    return element("li", { class: value ? "on" : "off" }, name, element("span", { class: "state" }, value ? "on" : "off"));
  }
  return element("li", { class: "other" }, name, element("span", { class: "state" }, toJson(value)));
}
