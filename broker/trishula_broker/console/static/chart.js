// A time plot of the last hour.

import uPlot from "./vendor/uplot.js";
import { html, useEffect, useRef } from "./parts.js";

const HEIGHT = 170;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** `times`: seconds; `lines`: [{label, values, colour: a CSS variable}]. */
export function Chart({ title, unit, times, lines, theme }) {
  const place = useRef(null);
  const plot = useRef(null);

  useEffect(() => {
    const axis = {
      stroke: colour("--faint"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { stroke: colour("--line"), width: 1 },
      font: "12px system-ui, sans-serif",
    };
    plot.current = new uPlot({
      width: place.current.clientWidth || 300,
      height: HEIGHT,
      cursor: { drag: { x: false, y: false } },
      legend: { live: true },
      scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(high, 1) * 1.1] } },
      axes: [axis, { ...axis, size: 56 }],
      series: [{}, ...lines.map((line) => ({
        label: `${line.label}${unit ? `, ${unit}` : ""}`,
        stroke: colour(line.colour),
        width: 2,
        points: { show: false },
        spanGaps: false,
        value: (_, value) => (value === null ? "–" : value >= 100 ? Math.round(value) : value.toFixed(2)),
      }))],
    }, [times, ...lines.map((line) => line.values)], place.current);
    const resized = new ResizeObserver(() => {
      const width = place.current && place.current.clientWidth;
      if (width) plot.current.setSize({ width, height: HEIGHT });
    });
    resized.observe(place.current);
    return () => {
      resized.disconnect();
      plot.current.destroy();
    };
  }, [theme]);

  useEffect(() => {
    plot.current.setData([times, ...lines.map((line) => line.values)]);
  }, [times]);

  const last = (line) => {
    const value = line.values.findLast((each) => each !== null);
    return value === undefined ? "none yet" : `${value >= 100 ? Math.round(value) : value.toFixed(2)} ${unit}`;
  };
  const told = `${title}: ${lines.map((line) => `${line.label} ${last(line)}`).join(", ")}`;
  return html`<figure><figcaption class="hidden">${told}</figcaption><div ref=${place} aria-hidden="true"></div></figure>`;
}
