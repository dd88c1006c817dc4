"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const unpacked = (column) => (Array.isArray(column) ? column : column.codes.map((code) => column.values[code]));
  const tables = Object.fromEntries(
    Object.entries(read("tables")).map(([name, { names, columns }]) => [name, { names, columns: columns.map(unpacked) }]),
  );
  const charts = read("charts");
  const configs = read("configs");
  const phone = matchMedia("(max-width: 640px)");
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const rowsOf = ({ names, columns }) =>
    (columns[0] || []).map((_, row) => Object.fromEntries(names.map((name, i) => [name, columns[i][row]])));
  const rows = Object.fromEntries(Object.entries(tables).map(([name, table]) => [name, rowsOf(table)]));

  const draw = async (name, element, layout, theme, exported) => {
    const { spec, data } = charts[name][layout];
    const datasets = Object.fromEntries(data.map((name) => [name, rows[name]]));
    try {
      await vegaEmbed(element, { ...spec, datasets }, {
        mode: "vega-lite",
        renderer: "svg",
        ast: true,
        config: configs[`${layout}-${theme}`],
        actions: exported && { export: true, source: false, compiled: false, editor: false },
        downloadFileName: name,
        tooltip: { theme },
      });
    } catch (error) {
      element.textContent = "This chart could not be drawn; the table below says the same.";
      console.error(name, error);
    }
  };

  let drawing = Promise.resolve();
  const drawAll = () => {
    document.documentElement.dataset.charts = "drawing";
    drawing = drawing.then(async () => {
      const layout = phone.matches ? "phone" : "page";
      const theme = dark.matches ? "dark" : "light";
      for (const element of document.querySelectorAll(".chart")) {
        await draw(element.id, element, layout, theme, true);
        // Paper is wide and white, whatever the screen is.
        const paper = element.nextElementSibling;
        if (layout === "page" && theme === "light") paper.replaceChildren();
        else await draw(element.id, paper, "page", "light", false);
      }
      document.documentElement.dataset.charts = "drawn";
    });
  };

  const quoted = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const asCsv = ({ names, columns }) =>
    [names, ...(columns[0] || []).map((_, row) => columns.map((column) => column[row]))]
      .map((line) => line.map(quoted).join(",")).join("\n") + "\n";
  const content = {
    csv: (name) => [asCsv(tables[name]), "text/csv"],
    json: (name) => [JSON.stringify(rows[name], null, 1) + "\n", "application/json"],
    parquet: (name) => [Uint8Array.from(atob(read(name)), (sign) => sign.charCodeAt(0)), "application/vnd.apache.parquet"],
  };
  for (const button of document.querySelectorAll("button[data-table]")) {
    button.addEventListener("click", () => {
      const [bytes, type] = content[button.dataset.form](button.dataset.table);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([bytes], { type }));
      link.download = button.dataset.file;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    });
  }

  phone.addEventListener("change", drawAll);
  dark.addEventListener("change", drawAll);
  drawAll();
})();
