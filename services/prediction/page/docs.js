// The page at /docs: Swagger UI with the service's own OpenAPI document.

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

// Swagger UI leaves fields without a name, and text that scrolls out of the keyboard's reach.
const api = document.getElementById("api");
new MutationObserver(() => {
  for (const field of api.querySelectorAll(":is(select, textarea):not([aria-label])")) {
    field.setAttribute("aria-label", field.closest("[data-param-name]")?.dataset.paramName ?? "Body or media type");
  }
  for (const text of api.querySelectorAll("pre:not([tabindex])")) text.tabIndex = 0;
}).observe(api, { childList: true, subtree: true });

SwaggerUIBundle({ url: "/openapi.json", domNode: api, tryItOutEnabled: true, validatorUrl: null, syntaxHighlight: false });
