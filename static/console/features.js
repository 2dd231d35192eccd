// The features that this deployment does not offer, from /callConfig.

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
    const unusual = features.filter(([, value]) => value !== true);
    // One by one: the number of arguments of a call is limited.
    for (const [key, value] of unusual) parts.list.append(feature(key, value));
    show(parts.list, unusual.length > 0);
    const all = features.length > 0 ? "All features are on." : "No features are listed.";
    setText(parts.problem, unusual.length > 0 ? "" : all);
  });
  work.addEventListener("change", () => {
    show(parts.loading, work.succeededAt === null && !work.problem);
    if (work.problem) setText(parts.problem, "Not available right now.");
    show(parts.problem, parts.problem.textContent !== "");
  });
  work.run();
  return { root, stop: () => work.stop() };
}

/** Returns the item of a feature: off, or any other value as JSON. */
function feature(key, value) {
  return element("li", {}, featureName(key), element("span", { class: "state" }, value === false ? "off" : toJson(value)));
}
