/**
 * Draws `results/hits.svg`, the chart of the README, from `results/peers.json`:
 * `deno task bench:chart`.
 *
 * @module
 */

import { readFileSync, writeFileSync } from "node:fs";

interface Bar {
  readonly name: string;
  readonly median: number;
}

const FOLDER = "bench/results";
const GROUPS = ["hit, automatic keys", "hit, hand-written keys"];
const [LABELS, WIDTH, STEP] = [200, 420, 22];

const {
  machine,
  groups,
}: {
  machine: string;
  groups: Record<string, readonly Bar[]>;
} = JSON.parse(readFileSync(`${FOLDER}/peers.json`, "utf8"));

const shown = GROUPS.map((group) => ({ group, bars: groups[group] ?? [] }));
const longest = Math.max(...shown.flatMap(({ bars }) => bars.map(({ median }) => median)));
const parts: string[] = [];
let top = 24;
for (const { group, bars } of shown) {
  parts.push(`<text x="8" y="${top}" font-weight="bold">${group} (µs of processor time)</text>`);
  for (const { name, median } of bars.toSorted((a, b) => a.median - b.median)) {
    top += STEP;
    const length = Math.round((median / longest) * WIDTH);
    const color = name === "panza" ? "#2a78d6" : "#9aa5b1";
    parts.push(
      `<text x="${LABELS - 8}" y="${top}" text-anchor="end">${name}</text>`,
      `<rect x="${LABELS}" y="${top - 12}" width="${length}" height="15" rx="2" fill="${color}"/>`,
      `<text x="${LABELS + length + 6}" y="${top}">${median.toFixed(1)}</text>`,
    );
  }
  top += 2 * STEP;
}
const [width, height] = [LABELS + WIDTH + 60, top + 4];
writeFileSync(
  `${FOLDER}/hits.svg`,
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="Time of a cache hit, Panza and others">
<rect width="100%" height="100%" fill="#ffffff"/>
<g fill="#24292f">
${parts.join("\n")}
<text x="8" y="${
    top - STEP / 2
  }" font-size="11">2 KB values, SQLite, 1,000 entries, one at a time; ${machine}</text>
</g>
</svg>
`,
);
