"use strict";
// Says whether the definition could be saved, while it is written.
(() => {
  const PAUSE = 400;
  const text = document.getElementById("yaml");
  const verdict = document.getElementById("verdict");
  let timer, asked = 0;
  const check = async () => {
    const mine = ++asked;
    try {
      const answer = await fetch("/v1/dashboards/check", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ yaml: text.value }),
      });
      // A later text has been sent meanwhile.
      if (mine !== asked || !answer.ok) return;
      const { fault } = await answer.json();
      verdict.textContent = fault ?? text.dataset.fine;
      verdict.className = fault ? "alert" : "note";
    } catch { /* The server says it when it is saved. */ }
  };
  text.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(check, PAUSE);
  });
})();
