import { test } from "node:test";
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { type BatchProgress, progressBar, type ProgressBarOptions } from "../../progress.ts";
import { commandOf, launch } from "../support/child.ts";

/** A record; what is not said is 0, and `done` is the sum of what is. */
function at(durationMs: number, counts: Partial<BatchProgress> = {}): BatchProgress {
  const { hits = 0, misses = 0, shared = 0, stale = 0, failed = 0 } = counts;
  return {
    done: hits + misses + shared + stale + failed,
    total: 1000,
    hits,
    misses,
    shared,
    stale,
    failed,
    running: 0,
    durationMs,
    savedMs: 0,
    finished: false,
    ...counts,
  };
}

/** Draws into a list of texts. */
function recorder(columns: number | undefined, options?: ProgressBarOptions) {
  const drawn: string[] = [];
  const output = {
    columns,
    write: (text: string): void => void drawn.push(text),
  };
  return { drawn, output, draw: progressBar({ output, ...options }) };
}

/** What a line of a terminal shows. */
function shown(text: string | undefined): string {
  // deno-lint-ignore no-control-regex
  return (text ?? "").replace(/^\r/, "").replace(/\x1b\[K\n?$/, "");
}

/** Runs with a timer that fires when it is told to. */
function withTimer(body: (fire: () => void) => void): void {
  const { setTimeout, clearTimeout } = globalThis;
  let pending: (() => void) | undefined;
  Object.assign(globalThis, {
    setTimeout: (callback: () => void): number => {
      assertEquals(pending, undefined, "one timer at a time");
      pending = callback;
      return 1;
    },
    clearTimeout: (): void => void (pending = undefined),
  });
  try {
    body(() => pending?.());
    assertEquals(pending, undefined, "a timer was left");
  } finally {
    Object.assign(globalThis, { setTimeout, clearTimeout });
  }
}

test("progressBar() shows counts, rate and time left on one line of a terminal", () => {
  const { drawn, draw } = recorder(100);
  draw(at(0));
  draw(at(2_000, { hits: 0, misses: 10 }));
  draw(at(4_000, { hits: 180, misses: 18, failed: 2 }));
  assertEquals(
    shown(drawn.at(-1)),
    "[######------------------------] 200/1000 20%, hits 180, misses 18, failed 2, 50/s, 16s left",
  );
  for (const text of drawn) {
    assert(text.startsWith("\r") && text.endsWith("\x1b[K"), text);
    assert(!text.includes("\n"), "a line that is redrawn has no end");
  }
});

test("progressBar() draws at most once in 100 ms, and the last report always", () => {
  const { drawn, draw } = recorder(80);
  withTimer(() => {
    draw(at(0));
    for (let ms = 1; ms < 1000; ms++) draw(at(ms, { misses: ms }));
    assertEquals(drawn.length, 10);
    draw(at(1000, { misses: 1000, finished: true }));
  });
  assertEquals(drawn.length, 11);
  assertMatch(shown(drawn.at(-1)), /1000\/1000 100%, hits 0, misses 1000, in 1\.0s$/);
  assert(drawn.at(-1)?.endsWith("\n"), "the last line has an end");
});

test("progressBar() does not leave a burst undrawn while a long run follows", () => {
  const { drawn, draw } = recorder(80);
  withTimer((fire) => {
    draw(at(0, { hits: 1 }));
    draw(at(1, { hits: 900 }));
    assertEquals(drawn.length, 1);
    fire();
    assertStringIncludes(drawn.at(-1) ?? "", "900/1000");
  });
});

test("progressBar() times the rest by what comes after the leading hits", () => {
  const { drawn, draw } = recorder(100);
  for (let hits = 0; hits <= 900; hits += 100) draw(at(hits / 10, { hits }));
  for (let misses = 1; misses <= 10; misses++) {
    draw(at(90 + misses * 1000, { hits: 900, misses }));
  }
  assertStringIncludes(drawn.at(-1) ?? "", "1.0/s, 1m30s left");
});

test("progressBar() follows a change of speed", () => {
  const { drawn, draw } = recorder(100);
  for (let second = 0; second <= 20; second++) {
    draw(at(second * 1000, { misses: second * 10 }));
  }
  assertStringIncludes(drawn.at(-1) ?? "", " 10/s");
  for (let second = 1; second <= 30; second++) {
    draw(at((20 + second) * 1000, { misses: 200 + second }));
  }
  assertStringIncludes(drawn.at(-1) ?? "", " 1.0/s, 12m50s left");
});

test("progressBar() averages calls that are slower than its window", () => {
  const { drawn, draw } = recorder(100);
  for (let misses = 0; misses <= 20; misses++) {
    // 20 and 100 seconds in turn.
    draw(at(misses * 60_000 + (misses % 2) * 20_000, { misses }));
  }
  assertStringIncludes(drawn.at(-1) ?? "", "0.017/s, 16h20m left");
});

test("progressBar() tells no time left before anything is known of it", () => {
  const { drawn, draw } = recorder(80);
  draw(at(0));
  draw(at(500));
  draw(at(1000, { total: undefined, misses: 7 }));
  assertEquals(
    drawn.map(shown).map((text) => text.replace(/^\[-+\] /, "")),
    [
      "0/1000 0%, hits 0, misses 0",
      "0/1000 0%, hits 0, misses 0",
      "7 done, hits 0, misses 7, 7.0/s",
    ],
  );
});

test("progressBar() takes the total from its options where the batch has none", () => {
  const { drawn, draw } = recorder(80, { total: 4 });
  draw(at(0, { total: undefined, misses: 1 }));
  assertMatch(shown(drawn[0]), /1\/4 25%/);
});

test("progressBar() never fills the last column, however narrow the terminal is", () => {
  for (let columns = 1; columns <= 120; columns++) {
    const { drawn, draw } = recorder(columns);
    draw(at(0));
    draw(at(5_000, { hits: 100, misses: 20, shared: 3, stale: 4, failed: 5 }));
    draw(at(9_000, { hits: 1000, finished: true }));
    for (const text of drawn) {
      assert(shown(text).length < columns, `${columns} columns: ${text}`);
    }
  }
});

test("progressBar() keeps its shape with a total of 0 and with more than the total", () => {
  const { drawn, draw } = recorder(80);
  draw(at(0, { total: 0, finished: true }));
  draw(at(200, { total: 1, misses: 3, finished: true }));
  assertMatch(shown(drawn[0]), /^\[-{30}\] 0\/0 0%/);
  assertMatch(shown(drawn[1]), /^\[#{30}\] 3\/1 300%/);
});

test("progressBar() writes plain lines every few seconds where there is no terminal", () => {
  const { drawn, draw } = recorder(undefined);
  for (let ms = 0; ms < 12_000; ms += 10) draw(at(ms, { misses: ms / 100 }));
  draw(at(12_000, { misses: 120, finished: true }));
  assertEquals(drawn, [
    "50/1000 5%, hits 0, misses 50, 10/s, 1m35s left\n",
    "100/1000 10%, hits 0, misses 100, 10/s, 1m30s left\n",
    "120/1000 12%, hits 0, misses 120, in 12s\n",
  ]);
});

test("progressBar() leaves the last line alone with an infinite plain interval", () => {
  const { drawn, draw } = recorder(undefined, { plainInterval: Infinity });
  for (let ms = 0; ms < 100_000; ms += 1000) draw(at(ms));
  draw(at(100_000, { misses: 1, finished: true }));
  assertEquals(drawn, ["1/1000 0%, hits 0, misses 1, in 1m40s\n"]);
});

test("progressBar() refuses bad options by name", () => {
  // Each is wrong on purpose, which the types would refuse already.
  const wrong = (options: object): () => unknown => () =>
    Reflect.apply(progressBar, undefined, [options]);
  assertThrows(wrong({ totl: 1 }), TypeError, '"totl"');
  assertThrows(wrong({ total: -1 }), RangeError, "total must be");
  assertThrows(wrong({ total: 1.5 }), RangeError, "total must be");
  assertThrows(wrong({ total: "9" }), TypeError, "total must be");
  assertThrows(wrong({ plainInterval: 0 }), RangeError, "plainInterval");
  assertThrows(wrong({ plainInterval: "soon" }), TypeError, "plainInterval");
  assertThrows(wrong({ output: {} }), TypeError, "output must be");
  assertThrows(wrong({ output: null }), TypeError, "output must be");
});

const CHILD = commandOf("fixtures/progress_child.ts", ["--allow-env=TERM"]);

/** Runs a command; its combined output. */
async function run(command: [string, ...string[]], terminal = "xterm") {
  const surroundings = { variables: { TERM: terminal }, stdin: "" };
  const { code, stdout, stderr } = await launch(command, surroundings).end();
  assertEquals(code, 0, stderr);
  return stdout + stderr;
}

/** A pseudo-terminal of 60 columns, made by `script` of util-linux. */
async function onTerminal(terminal?: string): Promise<string> {
  const command = CHILD.map((part) => `'${part}'`).join(" ");
  return await run(["script", "-qec", `stty cols 60; ${command}`, "/dev/null"], terminal);
}

test("progressBar() redraws one line on a real terminal and fits its width", async () => {
  const output = await onTerminal();
  const lines = output.trimEnd().split("\n");
  assertEquals(lines.length, 1, output);
  const frames = output.split("\r").filter((frame) => frame.endsWith("\x1b[K"));
  assert(frames.length >= 2, JSON.stringify(output));
  for (const frame of frames) assert(shown(frame).length < 60, frame);
  assertStringIncludes(shown(frames.at(-1)), "3/3 100%, hits 1, misses 1, failed 1");
});

test("progressBar() moves no cursor where TERM is dumb", async () => {
  const output = await onTerminal("dumb");
  assertEquals(
    // Bun colours every warning on a terminal.
    // deno-lint-ignore no-control-regex
    output.replaceAll("\r\n", "\n").replaceAll(/\x1b\[[\d;]*m/g, ""),
    "3/3 100%, hits 1, misses 1, failed 1, in 1.0s\n",
  );
});

test("progressBar() writes plain lines into a pipe", async () => {
  const output = await run(CHILD);
  assertEquals(output, "3/3 100%, hits 1, misses 1, failed 1, in 1.0s\n");
});
