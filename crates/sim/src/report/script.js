(() => {
  const time = (s) => s >= 86400 ? `${+(s / 86400).toFixed(2)} d` : s >= 3600 ? `${+(s / 3600).toFixed(2)} h`
    : s >= 60 ? `${+(s / 60).toFixed(1)} min` : `${+s.toFixed(1)} s`;
  const value = (y, unit) => unit === "%" ? `${(y * 100).toFixed(1)}%` : `${+y.toFixed(2)} ${unit}`;
  const tip = document.getElementById("tip");
  const [width, left, right] = [720, 58, 14];
  for (const svg of document.querySelectorAll("svg.chart")) {
    const lines = JSON.parse(svg.parentElement.querySelector("script.data").textContent);
    const [x0, x1] = [+svg.dataset.x0, +svg.dataset.x1];
    const decades = svg.dataset.across === "decades";
    const cursor = svg.querySelector(".cursor");
    const hide = () => { tip.hidden = true; cursor.style.visibility = "hidden"; };
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const at = (event.clientX - box.left) / box.width * width;
      const part = (at - left) / (width - left - right);
      if (part < 0 || part > 1) return hide();
      const x = decades ? Math.exp(Math.log(x0) + part * Math.log(x1 / x0)) : x0 + part * (x1 - x0);
      const text = lines.map(({ name, points, unit }) => {
        let [low, high] = [0, points.length];
        while (low < high) {
          const middle = (low + high) >> 1;
          if (points[middle][0] <= x) low = middle + 1; else high = middle;
        }
        return `${name}: ${low ? value(points[low - 1][1], unit) : "–"}`;
      });
      cursor.setAttribute("x1", at);
      cursor.setAttribute("x2", at);
      cursor.style.visibility = "visible";
      tip.textContent = [time(x), ...text].join("\n");
      tip.hidden = false;
      const over = event.clientX + 16 + tip.offsetWidth > innerWidth;
      tip.style.left = `${over ? event.clientX - tip.offsetWidth - 16 : event.clientX + 16}px`;
      tip.style.top = `${event.clientY + 12}px`;
    });
  }
  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
})();
