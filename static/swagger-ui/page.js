// Shows the API description of this server, and sends requests to this server only.

/** The stream never ends, so that its response would never be shown. */
function streamsAreReadOnly() {
  const allowTryItOutFor = (original) => (state, path, method) => !path.endsWith("/live") && original(state, path, method);
  return { statePlugins: { spec: { wrapSelectors: { allowTryItOutFor } } } };
}

/** Shows a path without a link, because it is in a button. */
function pathsAreText({ React }) {
  return { wrapComponents: { DeepLink: () => ({ text }) => React.createElement("span", null, text) } };
}

const ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  // The default would send the document's address to another server.
  validatorUrl: null,
  plugins: [streamsAreReadOnly, pathsAreText],
  // A login or a guest token authorises the page at once. The token is kept on this page only.
  responseInterceptor(response) {
    const path = new URL(response.url, location.href).pathname;
    const data = response.ok && response.body && response.body.data;
    if (/\/auth\/(login|refresh)$/.test(path) && data) ui.preauthorizeApiKey("token", data.token);
    if (/\/auth\/joinmember$/.test(path) && data) ui.preauthorizeApiKey("token", data);
    return response;
  },
});

/** The accessible names that Swagger UI does not set, by selector. */
const LABELS = {
  "#servers": () => "Server",
  "select.examples-select-element": () => "Example",
  "select.content-type": () => "Media type",
  "textarea.body-param__text": () => "Request body",
  "table.responses-table": (table) => `Responses: ${table.closest(".opblock").querySelector(".opblock-summary-path").textContent}`,
};

/** The names of parts that become landmarks. */
const REGIONS = { ".information-container": "About the API", ".scheme-container": "Server and token" };

/** Sets what Swagger UI leaves out: landmarks, names of controls, and heading levels without a gap. */
function improveAccessibility() {
  for (const [selector, label] of Object.entries(REGIONS)) {
    const part = document.querySelector(`${selector}:not([role])`);
    part?.setAttribute("role", "region");
    part?.setAttribute("aria-label", label);
  }
  for (const [selector, label] of Object.entries(LABELS)) {
    for (const part of document.querySelectorAll(`${selector}:not([aria-label])`)) part.setAttribute("aria-label", label(part));
  }
  for (const heading of document.querySelectorAll("#page :is(h3, h4, h5):not([aria-level])")) {
    heading.setAttribute("aria-level", Number(heading.tagName[1]) - 1);
  }
}

new MutationObserver(improveAccessibility).observe(document.getElementById("page"), { childList: true, subtree: true });
