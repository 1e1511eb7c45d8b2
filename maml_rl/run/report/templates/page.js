// Draws the charts in the colours of the reader's screen; what a legend switches off is off in all of them.
(() => {
  "use strict";
  const { figures, templates } = JSON.parse(document.getElementById("data").textContent);
  const charts = [...document.querySelectorAll(".chart")];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const template = () => templates[dark.matches ? "dark" : "light"];
  const touch = matchMedia("(pointer: coarse)").matches; // a finger on a chart scrolls the page
  const settings = {
    responsive: true, displaylogo: false, plotlyServerURL: "", displayModeBar: touch ? false : "hover",
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d", "sendChartToCloud"],
  };

  const follow = (leader) => {
    const shown = new Map(leader.data.map((trace) => [trace.legendgroup, trace.visible ?? true]));
    for (const chart of charts) {
      if (chart === leader) continue;
      const late = chart.data.map((trace, index) => [index, shown.get(trace.legendgroup), trace.visible ?? true])
        .filter(([, wanted, now]) => wanted !== undefined && wanted !== now);
      if (late.length) Plotly.restyle(chart, { visible: late.map(([, wanted]) => wanted) }, late.map(([index]) => index));
    }
  };

  const drawn = charts.map((chart, index) => {
    const { data, layout } = figures[index];
    const made = Plotly.newPlot(chart, data, { ...layout, template: template(), dragmode: touch ? false : "zoom" }, settings);
    return made.then(() => chart.on("plotly_restyle", () => follow(chart)));
  });
  dark.addEventListener("change", () => charts.forEach((chart) => Plotly.relayout(chart, { template: template() })));
  Promise.all(drawn).then(() => { document.body.dataset.drawn = charts.length; });
})();
