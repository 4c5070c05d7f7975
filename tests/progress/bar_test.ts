import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { MemoryCache } from "../../memory.ts";
import { type BatchProgress, progressBar, type ProgressBarOptions } from "../../progress.ts";
import { commandOf, launch } from "../support/child.ts";
import { FakeTime } from "../support/fake_time.ts";

/** A report; what is not said is 0, and `done` is the sum of what is. */
function report(counts: Partial<BatchProgress> = {}): BatchProgress {
  const { hits = 0, misses = 0, shared = 0, failed = 0 } = counts;
  const done = hits + misses + shared + failed;
  const times = { durationMs: 0, savedMs: 0, finished: false };
  const rest = { total: 1000, stale: 0, unstored: 0, running: 0, ...times };
  return { done, hits, misses, shared, failed, ...rest, ...counts };
}

/** A bar that draws into a list of texts. */
function recorder(columns: number | undefined, options: ProgressBarOptions = {}) {
  const drawn: string[] = [];
  const write = (text: string): void => void drawn.push(text);
  const bar = progressBar({ output: { columns, write }, ...options });
  return { bar, drawn, write, shown: () => screen(drawn.join("")) };
}

/** Each drawing of the line, without its control characters. */
function drawingsIn(output: string): string[] {
  // deno-lint-ignore no-control-regex
  return output.match(/(?<=\r)[^\r\n\x1b]+(?=\x1b\[K)/g) ?? [];
}

/** The lines that a terminal shows after this output; its width does not matter. */
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

/** A cached function that takes as many milliseconds as it is told. */
function slow(errors: Error[] = []) {
  const cache = new MemoryCache({ onError: (error) => void errors.push(error) });
  return cache.cache({ id: "slow" })(async (ms: number): Promise<number> => {
    await new Promise((resolve) => setTimeout(resolve, ms));
    return ms;
  });
}

test("progressBar() shows counts, time, time left and rate on one line of a terminal", async () => {
  using time = new FakeTime();
  const { bar, drawn, shown } = recorder(120);
  bar(report());
  await time.tick(2_000);
  bar(report({ misses: 10 }));
  await time.tick(1_999);
  bar(report({ misses: 28, hits: 170, failed: 2, unstored: 1, running: 7 }));
  await time.tick(1);
  assertEquals(shown(), [
    "[#####---------------------] 200/1000 20% in 4.0s, 16s left, 7 running, failed 2, " +
    "not kept 1, hits 170, misses 28, 50/s",
  ]);
  assert(drawn.every((text) => text.startsWith("\r") && text.endsWith("\x1b[K")));
});

test("progressBar() moves ten times a second while a call is long, and stops at the end", async () => {
  using time = new FakeTime();
  const { bar, drawn, shown } = recorder(80);
  const values = slow().map([3_050], { concurrency: 1, onProgress: bar }).values();
  await time.tick();
  assertMatch(shown()[0] ?? "", /0\/1 0% in 0\.0s/);
  const before = drawn.length;
  await time.tick(3_000);
  assertEquals(drawn.length - before, 30);
  assertMatch(shown()[0] ?? "", /0\/1 0% in 3\.0s, 1 running/);
  await time.tick(50);
  await values;
  assertEquals(shown(), [`[${"#".repeat(30)}] 1/1 100% in 3.0s, hits 0, misses 1`, ""]);
  assertEquals(time.timers, 0);
});

test("progressBar() writes plain lines while a call is long where there is no terminal", async () => {
  using time = new FakeTime();
  const { bar, drawn } = recorder(undefined);
  const values = slow().map([2_000, 10_000], { concurrency: 1, onProgress: bar }).values();
  await time.tick(12_000);
  await values;
  assertEquals(drawn, [
    "1/2 50% in 5.0s, 2.5s left, 1 running, hits 0, misses 1, 0.40/s\n",
    "1/2 50% in 10s, 5.0s left, 1 running, hits 0, misses 1, 0.20/s\n",
    "2/2 100% in 12s, hits 0, misses 2\n",
  ]);
});

test("progressBar() writes the last line only with an infinite plain interval", async () => {
  using time = new FakeTime();
  const { bar, drawn } = recorder(undefined, { plainInterval: Infinity });
  bar(report());
  await time.tick(100_000);
  bar(report({ misses: 1, total: 1, finished: true }));
  assertEquals(drawn, ["1/1 100% in 1m40s, hits 0, misses 1\n"]);
});

test("progressBar() leaves what a loop prints on lines of its own", async (t) => {
  const pause = () => new Promise((resolve) => setTimeout(resolve, 150));
  for (
    const [when, before, after] of [
      ["at once", undefined, undefined],
      ["after something slow", pause, undefined],
      ["before something slow", undefined, pause],
    ] as const
  ) {
    await t.test(when, async () => {
      using time = new FakeTime();
      const fn = slow();
      const { bar, write, shown } = recorder(80);
      const loop = async (): Promise<void> => {
        const options = { concurrency: 1, onProgress: bar, ordered: true };
        for await (const { index } of fn.map([300, 301, 301, 302], options)) {
          await before?.();
          write(`result ${index}\n`);
          await after?.();
        }
      };
      let ended = false;
      const looping = loop().finally(() => ended = true);
      let moves = 0;
      for (let last = ""; !ended; await time.tick(50)) {
        const lines = shown();
        const line = lines.pop() ?? "";
        assertEquals(lines, lines.map((_, index) => `result ${index}`));
        assertMatch(line, /^(\[#*-+\] \d\/4 .*)?$/);
        if (line !== "" && line !== last) moves++;
        last = line;
      }
      await looping;
      assert(moves >= 5, `it moved ${moves} times`);
      assertMatch(shown().at(-2) ?? "", /^\[#{30}\] 4\/4 100% in /);
    });
  }
});

test("progressBar() writes plain lines while a loop holds its result for long", async () => {
  using time = new FakeTime();
  const { bar, write, shown } = recorder(80, { plainInterval: "2s" });
  const loop = async (): Promise<void> => {
    for await (const _ of slow().map([300], { concurrency: 1, onProgress: bar })) {
      await new Promise((resolve) => setTimeout(resolve, 4_950));
      write("held\n");
    }
  };
  const looping = loop();
  await time.tick(6_000);
  await looping;
  const lines = shown().map((line) => line.replace(/,.*/, ""));
  const last = `[${"#".repeat(30)}] 1/1 100% in 5.3s`;
  assertEquals(lines, ["1/1 100% in 2.3s", "1/1 100% in 4.3s", "held", last, ""]);
});

test("progressBar().log() writes lines of its own before, while and after a batch runs", async () => {
  using time = new FakeTime();
  const { bar, shown } = recorder(80);
  bar.log("before");
  const values = slow().map([300], { concurrency: 1, onProgress: bar }).values();
  await time.tick(150);
  bar.log("while\nit runs");
  assertMatch(shown().join("\n"), /^before\nwhile\nit runs\n\[-+\] 0\/1 0% in 0.1s, 1 running/);
  await time.tick(150);
  await values;
  bar.log("after");
  assertMatch(shown().join("\n"), /^before\nwhile\nit runs\n\[#+\] 1\/1 100%.*\nafter\n$/);
});

test("progressBar() begins anew with each batch, and sums those that run at once", async () => {
  using time = new FakeTime();
  const { bar, drawn, shown } = recorder(80);
  const fn = slow();
  const counts: number[] = [];
  for (const inputs of [[300, 301], [302, 303]]) {
    const before = drawn.length;
    const values = fn.map(inputs, { concurrency: 1, onProgress: bar }).values();
    await time.tick(700);
    await values;
    counts.push(drawn.length - before);
  }
  assert(counts.every((count) => count >= 6), `drawings of each: ${counts}`);
  const both = [[304, 305], [306, 307, 308]].map((inputs) =>
    fn.map(inputs, { concurrency: 1, onProgress: bar }).values()
  );
  await time.tick(650);
  assertMatch(shown().at(-1) ?? "", /4\/5 80% in 0.6s, 0.2s left, 1 running/);
  await time.tick(300);
  await Promise.all(both);
  assertEquals(shown().map((line) => line.replace(/^\[#{30}\] /, "")), [
    "2/2 100% in 0.6s, hits 0, misses 2",
    "2/2 100% in 0.6s, hits 0, misses 2",
    "5/5 100% in 0.9s, hits 0, misses 5",
    "",
  ]);
  assertEquals(time.timers, 0);
});

test("progressBar() ends at 100 % of what there was, or says that the batch stopped", async (t) => {
  const generate = function* (...inputs: number[]) {
    yield* inputs;
  };
  const endless = function* () {
    for (let n = 1;; n++) yield n;
  };
  const failing = function* () {
    yield* [1, 2];
    throw new Error("no more");
  };
  for (
    const [name, inputs, total, leaves, last] of [
      ["no input", [], undefined, false, /^\[#{30}\] 0\/0 100% in/],
      ["no input from a generator", generate(), 0, false, /^\[#{30}\] 0\/0 100% in/],
      ["an array", [1, 2, 3], undefined, false, /^\[#{30}\] 3\/3 100% in/],
      ["a generator", generate(1, 2, 3), undefined, false, /^\[#{30}\] 3\/3 100% in/],
      ["a total that is too small", generate(1, 2, 3), 2, false, /^\[#{30}\] 3\/3 100% in/],
      ["a total that is too large", generate(1, 2, 3), 9, false, /^\[#{30}\] 3\/3 100% in/],
      ["a loop that is left", [1, 2, 3], undefined, true, /^\[#{10}-{20}\] 1\/3 in \S+, stopped/],
      ["a generator that is left", endless(), undefined, true, /^1 done in/],
      ["a generator that fails", failing(), 4, false, /^\[#{15}-{15}\] 2\/4 in \S+, stopped/],
    ] as const
  ) {
    await t.test(name, async () => {
      const { bar, drawn, shown } = recorder(80, total === undefined ? {} : { total });
      const fn = new MemoryCache().cache({ id: "f" })((n: number) => Promise.resolve(n));
      try {
        for await (const _ of fn.map(inputs, { concurrency: 1, onProgress: bar })) {
          if (leaves) break;
        }
      } catch {
        // The reason of the batch is no matter of the bar.
      }
      assertMatch(shown().at(-2) ?? "", last);
      assert(!/1[0-9][1-9]%|[2-9]\d\d%/.test(drawn.join("")), "more than 100 %");
    });
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

test("progressBar() estimates the rest by recent calls, not by leading hits", async (t) => {
  const seconds = (count: number, each: number, first: Partial<BatchProgress> = {}) =>
    Array.from({ length: count }, (_, index) => ({
      ms: 1000,
      counts: { ...first, misses: (first.misses ?? 0) + (index + 1) * each },
    }));
  for (
    const [name, steps, left] of [
      [
        "leading hits",
        [{ ms: 90, counts: { hits: 900 } }, ...seconds(10, 1, { hits: 900 })],
        "1m30s",
      ],
      ["a change of speed", [...seconds(20, 10), ...seconds(30, 1, { misses: 200 })], "12m50s"],
      [
        "calls longer than 15 seconds",
        Array.from({ length: 20 }, (_, i) => ({
          ms: i % 2 === 0 ? 80_000 : 40_000,
          counts: { misses: i + 1 },
        })),
        "16h20m",
      ],
      ["nothing known", [{ ms: 9_000, counts: {} }], undefined],
      ["no total", [{ ms: 9_000, counts: { total: undefined, misses: 9 } }], undefined],
    ] as const
  ) {
    await t.test(name, async () => {
      using time = new FakeTime();
      const { bar, shown } = recorder(100);
      bar(report());
      for (const { ms, counts } of steps) {
        await time.tick(ms - 1);
        bar(report(counts));
        await time.tick(1);
      }
      await time.tick(100);
      const line = shown()[0] ?? "";
      if (left === undefined) assert(!line.includes("left"), line);
      else assertStringIncludes(line, `, ${left}`);
    });
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
  const seen: number[] = [];
  const onProgress = (progress: BatchProgress): void => {
    seen.push(progress.done);
    bar({ ...progress });
  };
  const values = slow().map([300, 301], { concurrency: 1, onProgress }).values();
  await time.tick(601);
  await values;
  assertEquals(seen, [0, 1, 2, 2]);
  assertMatch(shown().join("\n"), /^\[#+\] 2\/2 100% in 0\.6s.*\n$/);
  assertEquals(time.timers, 0);
});

test("progressBar() stops nothing when its output throws", async () => {
  using time = new FakeTime();
  const errors: Error[] = [];
  const broken = { columns: 80, write: () => assert(false, "closed") };
  const onProgress = progressBar({ output: broken });
  const values = slow(errors).map([1_000], { concurrency: 1, onProgress }).values();
  await time.tick(1_000);
  assertEquals(await values, [1_000]);
  assert(errors.length > 0 && errors.every(({ message }) => message === "closed"));
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
    // Each is wrong on purpose, which the types would refuse already.
    assertThrows(() => Reflect.apply(progressBar, undefined, [options]), kind, message);
  }
});

const CHILD = commandOf("fixtures/progress_child.ts", ["--allow-env", "--allow-run=stty"]);
const LINES = ["run 1", "result 0", "after 0", "result 1", "after 1", "result 2", "after 2"];

/** What the child writes, on a pseudo-terminal (`script` of util-linux) if it has columns. */
async function run(mode: string, columns?: number, variables: Record<string, string> = {}) {
  const words = [...CHILD, mode].map((part) => `'${part}'`).join(" ");
  const command = columns === undefined ? words : `stty cols ${columns}; ${words}`;
  const started: [string, ...string[]] = columns === undefined
    ? ["sh", "-c", command]
    : ["script", "-qec", command, "/dev/null"];
  const surroundings = { variables: { TERM: "xterm", ...variables }, stdin: "" };
  const { code, stdout, stderr } = await launch(started, surroundings).end();
  assertEquals(code, 0, stderr);
  return { stdout, stderr, output: stdout.replaceAll("\r\n", "\n") };
}

test("progressBar() redraws one line beside what a program prints, on real terminals", async (t) => {
  for (
    const [name, columns, variables] of [
      ["a terminal", 80, {}],
      ["a terminal without colour", 80, { NO_COLOR: "1" }],
      ["a narrow terminal", 24, {}],
    ] as const
  ) {
    await t.test(name, async () => {
      const { output } = await run("print", columns, variables);
      const lines = screen(output);
      assertEquals(lines.pop(), "");
      assertMatch(lines.pop() ?? "", /^(\[#+\] )?3\/3 100% in 0\.\ds, hits 0, misses 2, shared 1$/);
      // The second run begins while the loop has the first result in hand.
      assertEquals(lines.filter((line) => line !== "run 2"), LINES);
      assertEquals(lines.length, LINES.length + 1);
      const drawings = drawingsIn(output);
      assert(drawings.length >= 3, output);
      assert(drawings.every((drawing) => drawing.length < columns), drawings.join("\n"));
      // deno-lint-ignore no-control-regex
      assert(!/\x1b\[[\d;]*m/.test(output), "a colour");
    });
  }
});

test("progressBar() fits a terminal that becomes narrow", async () => {
  const { output } = await run("resize", 100);
  const [wide, narrow] = output.split("narrow").map(drawingsIn);
  assert(wide?.some((drawing) => drawing.length > 40), output);
  assert(narrow?.length && narrow.every((drawing) => drawing.length < 40), output);
});

test("progressBar() writes whole lines into a pipe and where TERM is dumb", async (t) => {
  for (const [name, columns] of [["a pipe", undefined], ["a dumb terminal", 80]] as const) {
    await t.test(name, async () => {
      const { output, stderr } = await run("print", columns, { TERM: "dumb" });
      // Bun colours every error on a terminal.
      // deno-lint-ignore no-control-regex
      const all = (output + stderr).replaceAll(/\x1b\[[\d;]*m/g, "");
      // deno-lint-ignore no-control-regex
      assert(!/[\r\x1b]/.test(all), JSON.stringify(all));
      const lines = all.trimEnd().split("\n");
      assertMatch(lines.pop() ?? "", /^3\/3 100% in 0\.\ds, hits 0, misses 2, shared 1$/);
      assertEquals(lines.sort(), [...LINES, "run 2"].sort());
    });
  }
});

test("progressBar() keeps no process alive whose batch is never read to its end", async () => {
  const { stdout } = await run("abandon");
  assertEquals(stdout, "result 0\n");
});
