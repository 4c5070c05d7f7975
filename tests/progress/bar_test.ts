import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { MemoryCache } from "../../memory.ts";
import { type BatchProgress, progressBar, type ProgressBarOptions } from "../../progress.ts";
import { commandOf, launch } from "../support/child.ts";
import { FakeTime } from "../support/fake_time.ts";

/** A report; omitted counts are 0, and `done` is the sum of the outcomes. */
function report(counts: Partial<BatchProgress> = {}): BatchProgress {
  const { hits = 0, misses = 0, shared = 0, stale = 0, failed = 0 } = counts;
  const done = hits + misses + shared + stale + failed;
  const times = { durationMs: 0, savedMs: 0, finished: false };
  const rest = { total: 1000, unstored: 0, running: 0, ...times };
  return { done, hits, misses, shared, stale, failed, ...rest, ...counts };
}

/** A bar that draws into a list of texts. */
function recorder(columns: number | undefined, options: ProgressBarOptions = {}) {
  const drawn: string[] = [];
  const write = (text: string): void => void drawn.push(text);
  const bar = progressBar({ output: { columns, write }, ...options });
  return { bar, drawn, write, shown: () => screen(drawn.join("")) };
}

/** The lines that a terminal of any width shows after this output. */
function screen(output: string): string[] {
  const lines = [""];
  let column = 0;
  // deno-lint-ignore no-control-regex
  for (const [token] of output.matchAll(/\x1b\[K|[^]/g)) {
    const line = lines.at(-1) ?? "";
    if (token === "\n") lines.push("");
    if (token === "\n" || token === "\r") column = 0;
    else if (token === "\x1b[K") lines[lines.length - 1] = line.slice(0, column);
    else lines[lines.length - 1] = line.slice(0, column) + token + line.slice(++column);
  }
  return lines;
}

/** Each drawing of the line, without its control characters. */
function drawingsIn(output: string): string[] {
  // deno-lint-ignore no-control-regex
  return output.match(/(?<=\r)[^\r\n\x1b]+(?=\x1b\[K)/g) ?? [];
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Maps a function that takes its input in milliseconds, one call at a time. */
function slowly(
  inputs: Iterable<number>,
  onProgress: (progress: BatchProgress) => void,
  onError?: (error: Error) => void,
) {
  const cache = new MemoryCache(onError && { onError });
  const wait = cache.cache({ id: "wait" })(async (ms: number): Promise<number> => {
    if (ms > 0) await pause(ms);
    return ms;
  });
  return wait.map(inputs, { concurrency: 1, onProgress });
}

test("progressBar() shows counts, time, time left and rate on one line of a terminal", async () => {
  using time = new FakeTime();
  const { bar, drawn, shown } = recorder(120);
  bar(report());
  await time.tick(2_000);
  bar(report({ misses: 10 }));
  await time.tick(1_999);
  bar(report({ misses: 28, hits: 166, stale: 4, failed: 2, unstored: 1, running: 7 }));
  await time.tick(1);
  assertEquals(shown(), [
    "[###--------------] 200/1000 20% in 4.0s, 16s left, 7 running, failed 2, not kept 1, " +
    "hits 166, misses 28, stale 4, 50/s",
  ]);
  assertEquals(drawn.length, drawingsIn(drawn.join("")).length);
});

test("progressBar() moves ten times a second while a call is long, and stops at the end", async () => {
  using time = new FakeTime();
  const { bar, drawn, shown } = recorder(80);
  const values = slowly([3_050], bar).values();
  await time.tick();
  assertMatch(shown()[0] ?? "", /0\/1 0% in 0\.0s/);
  const before = drawn.length;
  await time.tick(3_000);
  assertEquals(drawn.length - before, 30);
  assertMatch(shown()[0] ?? "", /0\/1 0% in 3\.0s, 1 running/);
  await time.tick(50);
  await values;
  assertEquals(shown(), ["1/1 100% in 3.0s, hits 0, misses 1", ""]);
  assertEquals(time.timers, 0);
});

test("progressBar() writes plain lines while a call is long where there is no terminal", async () => {
  const last = "2/2 100% in 12s, hits 0, misses 2\n";
  const between = [
    "1/2 50% in 5.0s, 2.5s left, 1 running, hits 0, misses 1, 0.40/s\n",
    "1/2 50% in 10s, 5.0s left, 1 running, hits 0, misses 1, 0.20/s\n",
  ];
  for (const plainInterval of ["5s", Infinity] as const) {
    using time = new FakeTime();
    const { bar, drawn } = recorder(undefined, { plainInterval });
    const values = slowly([2_000, 10_000], bar).values();
    await time.tick(12_000);
    await values;
    assertEquals(drawn, [...plainInterval === Infinity ? [] : between, last]);
  }
});

test("progressBar() leaves what a loop prints on lines of its own", async () => {
  for (const [before, after] of [[0, 0], [150, 0], [0, 150]] as const) {
    using time = new FakeTime();
    const { bar, write, shown } = recorder(80);
    let printed = 0;
    let hasEnded = false;
    const looping = (async () => {
      for await (const _ of slowly([300, 301, 301, 302], bar)) {
        if (before > 0) await pause(before);
        write(`result ${printed++}\n`);
        if (after > 0) await pause(after);
      }
      hasEnded = true;
    })();
    const moves = new Set<string>();
    while (!hasEnded) {
      const lines = shown();
      const line = lines.pop() ?? "";
      assertEquals(lines, Array.from({ length: printed }, (_, index) => `result ${index}`));
      assertMatch(line, /^(\[#*-+\] \d\/4 .*)?$/);
      moves.add(line);
      await time.tick(50);
    }
    await looping;
    assert(moves.size > 5, `it moved ${moves.size} times`);
    assertMatch(shown().at(-2) ?? "", /^4\/4 100% in /);
  }
});

test("progressBar() writes plain lines while a loop holds its result for long", async () => {
  using time = new FakeTime();
  const { bar, write, shown } = recorder(80, { plainInterval: "2s" });
  const looping = (async () => {
    for await (const _ of slowly([300], bar)) {
      await pause(4_950);
      write("held\n");
    }
  })();
  await time.tick(6_000);
  await looping;
  const lines = shown().map((line) => line.replace(/,.*/, ""));
  assertEquals(lines, ["1/1 100% in 2.3s", "1/1 100% in 4.3s", "held", "1/1 100% in 5.3s", ""]);
});

test("progressBar().log() writes lines of its own before, while and after a batch runs", async () => {
  using time = new FakeTime();
  const { bar, shown } = recorder(80);
  bar.log("before");
  const values = slowly([300], bar).values();
  await time.tick(150);
  bar.log("while\nit runs");
  assertMatch(shown().join("\n"), /^before\nwhile\nit runs\n\[-+\] 0\/1 0% in 0.1s, 1 running/);
  await time.tick(150);
  await values;
  bar.log("after");
  assertMatch(shown().join("\n"), /^before\nwhile\nit runs\n1\/1 100%.*\nafter\n$/);
});

test("progressBar() begins anew with each batch, and sums those that run at once", async () => {
  using time = new FakeTime();
  const { bar, drawn, shown } = recorder(80);
  for (let batch = 0; batch < 2; batch++) {
    const before = drawn.length;
    const values = slowly([300, 301], bar).values();
    await time.tick(650);
    await values;
    assert(drawn.length - before > 6, `${drawn.length - before} drawings of batch ${batch}`);
  }
  const both = [[300, 301], [302, 303, 304]].map((inputs) => slowly(inputs, bar).values());
  await time.tick(650);
  assertMatch(shown().at(-1) ?? "", /4\/5 80% in 0.6s, 0.2s left, 1 running/);
  await time.tick(300);
  await Promise.all(both);
  assertEquals(shown(), [
    "2/2 100% in 0.6s, hits 0, misses 2",
    "2/2 100% in 0.6s, hits 0, misses 2",
    "5/5 100% in 0.9s, hits 0, misses 5",
    "",
  ]);
  assertEquals(time.timers, 0);
});

test("progressBar() ends at 100 % of what there was, or says that the batch stopped", async () => {
  const generate = function* (count: number, error?: Error) {
    for (let n = 0; n < count; n++) yield 0;
    if (error !== undefined) throw error;
  };
  for (
    const [inputs, total, leaves, last] of [
      [[], undefined, false, "0/0 100% in"],
      [generate(0), 0, false, "0/0 100% in"],
      [[0, 0, 0], undefined, false, "3/3 100% in"],
      [generate(3), undefined, false, "3/3 100% in"],
      [generate(3), 2, false, "3/3 100% in"],
      [generate(3), 9, false, "3/3 100% in"],
      [[0, 0, 0], undefined, true, "1/3 in 0.0s, stopped,"],
      [generate(Infinity), undefined, true, "1 done in"],
      [generate(2, new Error("no more")), 4, false, "2/4 in 0.0s, stopped,"],
    ] as const
  ) {
    const { bar, drawn, shown } = recorder(80, total === undefined ? {} : { total });
    try {
      for await (const _ of slowly(inputs, bar)) if (leaves) break;
    } catch {
      // The batch itself reports the failure of its inputs.
    }
    assertEquals(shown().at(-2)?.slice(0, last.length), last);
    for (const [, percent] of drawn.join("").matchAll(/(\d+)%/g)) assert(Number(percent) <= 100);
  }
});

test("progressBar() shows sums of count() without the noise of fractions", () => {
  for (
    const [spent, saved, text] of [
      [0.1 + 0.2, 0, "spent 0.3, saved 0"],
      [12.3456789, 999.96, "spent 12.35, saved 1000"],
      [1234567.89, 0.000123456, "spent 1234568, saved 0.0001235"],
      [1e7 + 1, 100 / 3, "spent 10000001, saved 33.33"],
    ] as const
  ) {
    const { bar, drawn } = recorder(undefined);
    bar(report({ total: 1, misses: 1, counted: { spent, saved }, finished: true }));
    assertEquals(drawn, [`1/1 100% in 0.0s, hits 0, misses 1, ${text}\n`]);
  }
});

test("progressBar() estimates the rest by recent calls, not by leading hits", async () => {
  type Step = readonly [ms: number, counts: Partial<BatchProgress>];
  /** Misses that come one by one, after others. */
  const calls = (count: number, ms: (index: number) => number, hits = 0, before = 0): Step[] =>
    Array.from({ length: count }, (_, index) => [ms(index), { hits, misses: before + index + 1 }]);
  const second = () => 1_000;
  for (
    const [steps, left] of [
      [[[90, { hits: 900 }], ...calls(10, second, 900)], /, 1m30s left, .* 1\.0\/s$/],
      [[...calls(200, () => 100), ...calls(30, second, 0, 200)], /, 12m50s left, .* 1\.0\/s$/],
      [calls(20, (index) => index % 2 ? 40_000 : 80_000), /, 16h20m left, .* 0\.017\/s$/],
      [[[9_000, {}]], /0\/1000 0% in 9\.1s, 0 running, hits 0, misses 0$/],
      [[[9_000, { total: 2, misses: 9 }]], /^9 done in 9\.1s, 0 running, .* 1\.0\/s$/],
      [[[9_000, { total: undefined, misses: 9 }]], /^9 done in 9\.1s, 0 running, .* 1\.0\/s$/],
    ] as const
  ) {
    using time = new FakeTime();
    const { bar, shown } = recorder(100);
    bar(report());
    for (const [ms, counts] of steps) {
      await time.tick(ms - 1);
      bar(report(counts));
      await time.tick(1);
    }
    await time.tick(100);
    assertMatch(shown()[0] ?? "", left);
  }
});

test("progressBar() fits any width, and cuts no number", async () => {
  using time = new FakeTime();
  for (let columns = 1; columns <= 120; columns++) {
    const { bar, drawn, shown } = recorder(columns);
    bar(report());
    await time.tick(5_000);
    bar(report({ hits: 100, misses: 20, shared: 3, failed: 5, running: 12 }));
    await time.tick(100);
    assert(drawingsIn(drawn.join("")).every((drawing) => drawing.length < columns));
    if (columns > 20) assertMatch(shown()[0] ?? "", /128\/1000 12% in 5.1s(, |$)/);
    if (columns > 33) assertMatch(shown()[0] ?? "", /s left(, |$)/);
    bar(report({ finished: true }));
  }
});

test("progressBar() draws what another onProgress passes on", async () => {
  using time = new FakeTime();
  const { bar, shown } = recorder(80);
  const values = slowly([300, 301], (progress) => bar({ ...progress })).values();
  await time.tick(450);
  assertMatch(shown().join("\n"), /^\[#+-+\] 1\/2 50% in 0\.4s/);
  await time.tick(200);
  await values;
  assertMatch(shown().join("\n"), /^2\/2 100% in 0\.6s.*\n$/);
  assertEquals(time.timers, 0);
});

test("progressBar() stops nothing when its output throws", async () => {
  using time = new FakeTime();
  const errors: string[] = [];
  const onProgress = progressBar({ output: { columns: 80, write: () => assert(false, "closed") } });
  const values = slowly([1_000], onProgress, ({ message }) => errors.push(message)).values();
  await time.tick(1_000);
  assertEquals(await values, [1_000]);
  assertEquals([...new Set(errors)], ["closed"]);
  assertEquals(time.timers, 0);
});

test("progressBar() refuses bad options by name", () => {
  for (
    const [options, kind, message] of [
      [{ totl: 1 }, TypeError, '"totl"'],
      [{ total: -1 }, RangeError, "total must be"],
      [{ total: 1.5 }, RangeError, "total must be"],
      [{ total: "9" }, TypeError, "total must be"],
      [{ plainInterval: 0 }, RangeError, "plainInterval must be"],
      [{ plainInterval: "soon" }, TypeError, "plainInterval must be"],
      [{ output: {} }, TypeError, "output must be"],
      [{ output: null }, TypeError, "output must be"],
    ] as const
  ) {
    // Each is wrong on purpose; the types would refuse it already.
    assertThrows(() => Reflect.apply(progressBar, undefined, [options]), kind, message);
  }
});

const CHILD = commandOf("fixtures/progress_child.ts", ["--allow-env", "--allow-run=stty"]);
const LINES = ["run 1", "result 0", "after 0", "result 1", "after 1", "result 2", "after 2"];
const LAST = /^3\/3 100% in [\d.]+s, hits 0, misses 2, shared 1$/;

/** The output of the child: on a pseudo-terminal (`script` of util-linux) if it has columns. */
async function run(mode: string, columns?: number, variables: Record<string, string> = {}) {
  const words = [...CHILD, mode].map((part) => `'${part}'`).join(" ");
  const command = columns === undefined
    ? ["sh", "-c", words] as const
    : ["script", "-qec", `stty cols ${columns}; ${words}`, "/dev/null"] as const;
  const surroundings = { variables: { TERM: "xterm", ...variables }, stdin: "" };
  const { code, stdout, stderr } = await launch(command, surroundings).end();
  assertEquals(code, 0, stderr);
  return (stdout + stderr).replaceAll("\r\n", "\n");
}

test("progressBar() redraws one line beside what a program prints, on real terminals", async () => {
  for (const [columns, variables] of [[80, {}], [80, { NO_COLOR: "1" }], [24, {}]] as const) {
    const output = await run("print", columns, variables);
    const lines = screen(output);
    assertEquals(lines.pop(), "");
    assertMatch(lines.pop() ?? "", LAST);
    // The second run may begin while the loop still handles the first result.
    assertEquals(lines.toSpliced(lines.indexOf("run 2"), 1), LINES);
    const drawings = drawingsIn(output);
    assert(drawings.length >= 3, output);
    assert(drawings.every((drawing) => drawing.length < columns), drawings.join("\n"));
    // deno-lint-ignore no-control-regex
    assert(!/\x1b\[[\d;]*m/.test(output), "there is a colour");
  }
});

test("progressBar() fits a terminal that becomes narrow", async () => {
  const output = await run("resize", 100);
  const [wide, narrow] = output.split("narrow").map(drawingsIn);
  assert(wide?.some((drawing) => drawing.length > 40), output);
  assert(narrow?.length && narrow.every((drawing) => drawing.length < 40), output);
});

test("progressBar() writes whole lines into a pipe and where TERM is dumb", async () => {
  for (const columns of [undefined, 80]) {
    // Bun colours every error on a terminal.
    // deno-lint-ignore no-control-regex
    const output = (await run("print", columns, { TERM: "dumb" })).replaceAll(/\x1b\[[\d;]*m/g, "");
    const lines = output.trimEnd().split("\n");
    assert(lines.some((line) => LAST.test(line)), output);
    const others = lines.filter((line) => !LAST.test(line));
    assertEquals(others.sort(), [...LINES, "run 2"].sort());
  }
});

test("progressBar() keeps no process alive whose batch is never read to its end", async () => {
  assertEquals((await run("abandon")).match(/result.*/g), ["result 0"]);
});
