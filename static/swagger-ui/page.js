// Shows the API description of this server, and sends requests to this server only.
const ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  // The default would send the document's address to another server.
  validatorUrl: null,
  // A login or a guest token authorises the page at once. The token is kept on this page only.
  responseInterceptor(response) {
    const path = new URL(response.url, location.href).pathname;
    const data = response.ok && response.body && response.body.data;
    if (/\/auth\/(login|refresh)$/.test(path) && data) ui.preauthorizeApiKey("token", data.token);
    if (/\/auth\/joinmember$/.test(path) && data) ui.preauthorizeApiKey("token", data);
    return response;
  },
});
