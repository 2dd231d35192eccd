// Shows the document of the server that this page came from, and asks that server alone.
const ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  // Its default would send the document's address to somebody else.
  validatorUrl: null,
  // Who signs in below, or comes in as a guest, has the token in the lock at once. It is kept nowhere but on this page.
  responseInterceptor(response) {
    const path = new URL(response.url, location.href).pathname;
    const data = response.ok && response.body && response.body.data;
    if (/\/auth\/(login|refresh)$/.test(path) && data) ui.preauthorizeApiKey("token", data.token);
    if (/\/auth\/joinmember$/.test(path) && data) ui.preauthorizeApiKey("token", data);
    return response;
  },
});
