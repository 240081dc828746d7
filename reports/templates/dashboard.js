"use strict";
// Adds to a dashboard what it can be read without: the values under the pointer, and a look again every 30 seconds.
(() => {
  const REFRESH_EVERY = 30_000;
  const SVG = "http://www.w3.org/2000/svg";

  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const cursor = document.createElementNS(SVG, "line");
  cursor.setAttribute("class", "cursor");

  const hide = () => {
    tip.hidden = true;
    cursor.remove();
  };
  // The values of a chart are in the table below it.
  const show = (chart, event) => {
    const rows = chart.closest(".panel").querySelectorAll("details tbody tr");
    const box = chart.getBoundingClientRect();
    const { width, height } = chart.viewBox.baseVal;
    const from = Number(chart.dataset.from), to = Number(chart.dataset.to);
    if (!rows.length || !box.width) return hide();
    const step = rows.length > 1 ? (to - from) / (rows.length - 1) : 1;
    const at = ((event.clientX - box.left) / box.width) * width;
    const place = Math.max(0, Math.min(rows.length - 1, Math.round((at - from) / step)));
    const x = from + place * (rows.length > 1 ? step : 0);
    for (const [name, value] of Object.entries({ x1: x, x2: x, y1: 8, y2: height - 24 })) cursor.setAttribute(name, value);
    chart.append(cursor);
    const [when, ...values] = [...rows[place].children].map((cell) => cell.textContent);
    const heads = [...chart.closest(".panel").querySelectorAll("thead th")].slice(1).map((head) => head.textContent);
    // Of several groups each has its name.
    const lines = chart.closest(".panel").querySelector(".key.c1")
      ? values.map((value, i) => `${heads[i]}: ${value}`)
      : [values.filter(Boolean).join(" · ")];
    const line = (text) => Object.assign(document.createElement("strong"), { textContent: text });
    tip.replaceChildren(...lines.map(line), when);
    tip.hidden = false;
    const left = box.left + (x / width) * box.width, room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(8, Math.min(room, left + 12)) + scrollX}px`;
    tip.style.top = `${box.top + scrollY + 4}px`;
  };
  document.addEventListener("pointermove", (event) => {
    const chart = event.target.closest?.("svg.chart[data-from]");
    if (chart) show(chart, event); else hide();
  });
  document.addEventListener("scroll", hide, { passive: true });

  // What the page shows is exchanged part by part, where it changed: the rest does not move.
  const PARTS = [".period", ".summary", ".figures", ".tiles", "footer dl"];
  const exchange = (fresh) => {
    for (const part of PARTS) {
      const [old, next] = [document, fresh].map((page) => [...page.querySelectorAll(part)]);
      if (old.length !== next.length) return location.reload();
      old.forEach((element, i) => {
        const open = [...element.querySelectorAll("details")].map((details) => details.open);
        next[i].querySelectorAll("details").forEach((details, k) => { details.open = open[k] ?? false; });
        if (element.outerHTML !== next[i].outerHTML) element.replaceWith(document.adoptNode(next[i]));
      });
    }
  };
  const refresh = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href);
      // A session that is over leads to another page.
      if (answer.redirected) return location.reload();
      if (!answer.ok) return;
      hide();
      exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch { /* The next time may succeed. */ }
  };
  const box = document.getElementById("refresh");
  if (!box) return;
  box.closest(".live").hidden = false;
  let timer;
  const follow = () => {
    clearInterval(timer);
    sessionStorage.setItem("refresh", box.checked);
    if (box.checked) timer = setInterval(refresh, Number(box.dataset.every) || REFRESH_EVERY);
  };
  box.checked = sessionStorage.getItem("refresh") === "true";
  box.addEventListener("change", follow);
  follow();
})();
