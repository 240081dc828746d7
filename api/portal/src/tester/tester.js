// Sends the request of the tester and shows the answer. Without this script the page still builds code.
"use strict";
(() => {
  const form = document.getElementById("tester");
  const answer = document.getElementById("answer");
  const send = document.getElementById("send");
  const key = document.getElementById("key");
  const fields = () => Array.from(form.querySelectorAll("[data-place]"));

  function address() {
    let path = form.dataset.path;
    const query = new URLSearchParams();
    for (const field of fields()) {
      const value = field.value.trim();
      if (field.dataset.place === "path") {
        path = path.replace(`{${field.dataset.name}}`, encodeURIComponent(value));
      } else if (value) {
        query.append(field.dataset.name, value);
      }
    }
    const text = query.toString();
    return text ? `${path}?${text}` : path;
  }

  function pretty(text, type) {
    if (!type.includes("json") || type.includes("ndjson")) return text;
    try {
      return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      return text;
    }
  }

  async function run() {
    const body = form.querySelector("textarea");
    const headers = {};
    if (key.value.trim()) headers.Authorization = `Bearer ${key.value.trim()}`;
    if (body && body.value.trim()) headers["Content-Type"] = form.dataset.type;
    const options = { method: form.dataset.method, headers, credentials: key.value.trim() ? "omit" : "same-origin" };
    if (body && body.value.trim()) options.body = body.value;
    send.disabled = true;
    const begun = performance.now();
    try {
      const found = await fetch(address(), options);
      const text = await found.text();
      const type = found.headers.get("content-type") || "";
      const head = `${found.status} ${found.statusText} · ${Math.round(performance.now() - begun)} ms · ${type}`;
      const id = found.headers.get("x-request-id") || "";
      answer.textContent = `${head}\nX-Request-Id: ${id}\n\n${pretty(text.slice(0, 200000), type)}`;
    } catch (error) {
      answer.textContent = String(error);
    } finally {
      send.disabled = false;
      answer.hidden = false;
      answer.focus();
    }
  }

  send.hidden = false;
  send.addEventListener("click", run);
  document.getElementById("operation").addEventListener("change", (event) => {
    const lang = document.documentElement.lang;
    location.assign(`/developers/tester?lang=${lang}&op=${encodeURIComponent(event.target.value)}`);
  });
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = button.dataset.copied;
    });
  }
})();
