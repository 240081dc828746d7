// Shows the reference of the API, and tries requests with the key that was made on this page, if one was.
"use strict";
window.addEventListener("load", () => {
  const place = document.getElementById("viewer");
  const key = place.dataset.key;
  const viewer = SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#viewer",
    deepLinking: true,
    docExpansion: "none",
    filter: true,
    persistAuthorization: false,
    tryItOutEnabled: true,
    validatorUrl: null,
    syntaxHighlight: { theme: "agate" },
    onComplete: () => {
      if (key) viewer.preauthorizeApiKey("api_key", key);
    },
  });
});
