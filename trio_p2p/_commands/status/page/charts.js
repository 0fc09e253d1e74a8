"use strict";

// Plots in SVG: bars on each other, and a curve. Their sizes are those of the elements.
const charts = (() => {
  const NAMESPACE = "http://www.w3.org/2000/svg";
  const LEFT = 44, RIGHT = 6, TOP = 8, BOTTOM = 20;

  function add(parent, name, attributes, text) {
    const element = document.createElementNS(NAMESPACE, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  }

  // The next round number that is as large, and whose half is a short one.
  function ceiling(value) {
    if (value <= 1) return 1;
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 3, 4, 6, 8, 10].map((factor) => factor * power).find((each) => each >= value);
  }

  function frame(svg, top, format, minutes) {
    const { width, height } = svg.getBoundingClientRect();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren();
    const plot = { left: LEFT, width: width - LEFT - RIGHT, top: TOP, height: height - TOP - BOTTOM };
    for (const part of [0, 0.5, 1]) {
      const y = plot.top + plot.height * (1 - part);
      add(svg, "line", { class: "grid", x1: plot.left, x2: plot.left + plot.width, y1: y, y2: y });
      if (part !== 0.5 || top >= 2) {
        add(svg, "text", { class: "label", x: plot.left - 6, y: y + 4, "text-anchor": "end" }, format(top * part));
      }
    }
    const y = height - 4;
    add(svg, "text", { class: "label", x: plot.left, y }, `${minutes} min ago`);
    add(svg, "text", { class: "label", x: plot.left + plot.width, y, "text-anchor": "end" }, "now");
    return plot;
  }

  // Each row has one value for each kind; the newest row comes last, and there is room for `most`.
  function bars(svg, rows, most, format, minutes) {
    const top = ceiling(Math.max(0, ...rows.map((row) => row.reduce((a, b) => a + b, 0))));
    const plot = frame(svg, top, format, minutes);
    const step = plot.width / most;
    rows.forEach((row, index) => {
      const x = plot.left + step * (most - rows.length + index);
      let y = plot.top + plot.height;
      row.forEach((value, kind) => {
        const height = plot.height * value / top;
        y -= height;
        if (value > 0) add(svg, "rect", { class: `b${kind}`, x, y, width: Math.max(1, step * 0.8), height });
      });
    });
  }

  function curve(svg, values, most, format, minutes) {
    const top = ceiling(Math.max(0, ...values));
    const plot = frame(svg, top, format, minutes);
    if (!values.length) return;
    const bottom = plot.top + plot.height;
    const step = plot.width / (most - 1);
    const points = values.map((value, index) => {
      const x = plot.left + step * (most - values.length + index);
      return `${x.toFixed(1)},${(bottom - plot.height * value / top).toFixed(1)}`;
    });
    if (points.length === 1) points.unshift(`${(plot.left + plot.width - step).toFixed(1)},${points[0].split(",")[1]}`);
    const first = points[0].split(",")[0], last = points.at(-1).split(",")[0];
    add(svg, "polygon", { class: "under", points: `${first},${bottom} ${points.join(" ")} ${last},${bottom}` });
    add(svg, "polyline", { class: "curve", points: points.join(" ") });
  }

  return { bars, curve };
})();
