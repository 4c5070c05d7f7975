/** Bodies that carry a proof that they are whole, and bodies that were cut. */
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { type Ending, endingOf } from "../../src/fetch/whole.ts";
import { STREAMS } from "../support/llm_streams.ts";

function reason(ending: Ending): string {
  assert(typeof ending === "object", `it counts as whole: ${ending}`);
  return ending.reason;
}

for (const { name, type, events, error } of STREAMS) {
  const whole = events.join("");
  const isLines = type === "application/x-ndjson";

  test(`A stream of ${name} is final when it is whole`, () => {
    assertEquals(endingOf(type, whole), "final");
    assertEquals(endingOf(`${type.toUpperCase()}; charset=utf-8`, whole), "final");
  });

  test(`A stream of ${name} is not whole after any event but the last`, () => {
    for (let count = 0; count < events.length; count++) {
      assert(
        typeof endingOf(type, events.slice(0, count).join("")) === "object",
        `${count} events`,
      );
    }
  });

  test(`A stream of ${name} is not whole when it is cut inside an event`, () => {
    // Without the last line breaks: a line that is whole needs none after it.
    const end = whole.trimEnd().length;
    for (let length = 0; length < end; length++) {
      assert(typeof endingOf(type, whole.slice(0, length)) === "object", whole.slice(0, length));
    }
    if (!isLines) {
      assertEquals(reason(endingOf(type, whole.slice(0, end))), "it was cut inside an event");
      assertEquals(reason(endingOf(type, whole.slice(0, end + 1))), "it was cut inside an event");
    }
  });

  test(`A stream of ${name} with an error is not whole, wherever the error stands`, () => {
    for (let at = 0; at <= events.length; at++) {
      const text = [...events.slice(0, at), error, ...events.slice(at)].join("");
      assertEquals(reason(endingOf(type, text)), "one of its events is an error");
    }
  });

  test(`A stream of ${name} may break its lines in any way`, () => {
    for (const lineBreak of isLines ? ["\r\n"] : ["\r\n", "\r"]) {
      const broken = events.map((event) => event.replaceAll("\n", lineBreak));
      assertEquals(endingOf(type, broken.join("")), "final");
      for (let count = 0; count < events.length; count++) {
        reason(endingOf(type, broken.slice(0, count).join("")));
      }
      const length = broken.join("").length - 2 * lineBreak.length;
      if (!isLines) reason(endingOf(type, broken.join("").slice(0, length)));
    }
  });

  if (isLines) continue;
  test(`A stream of ${name} may have comments and pings anywhere`, () => {
    const ping = 'event: ping\ndata: {"type":"ping"}\n\n';
    for (const noise of [": OPENROUTER PROCESSING\n\n", ":\n", ping, "retry: 100\nid: 7\n\n"]) {
      for (let at = 0; at <= events.length; at++) {
        const before = events.slice(0, at).join("") + noise;
        assertEquals(endingOf(type, before + events.slice(at).join("")), "final");
        if (at < events.length) reason(endingOf(type, before));
      }
    }
  });

  test(`A stream of ${name} may begin with a byte order mark and go without spaces`, () => {
    assertEquals(endingOf(type, `\uFEFF${whole.replaceAll("data: ", "data:")}`), "final");
  });
}

test("endingOf takes JSON as whole when it parses", () => {
  for (const type of ["application/json", "application/problem+json; charset=utf-8"]) {
    assertEquals(endingOf(type, '{"a":[1]}\n'), "final");
    assertEquals(endingOf(type, "null"), "final");
    for (const cut of ["", '{"a":[1]', '{"a":[1]}}', "nul"]) {
      assertEquals(reason(endingOf(type, cut)), "its JSON was cut");
    }
    assertEquals(reason(endingOf(type, undefined)), "it is not UTF-8");
  }
});

test("endingOf leaves every other body to the transport", () => {
  for (const type of ["", "text/html", "application/octet-stream", "image/png"]) {
    assertEquals(endingOf(type, "<p"), "open");
    assertEquals(endingOf(type, undefined), "open");
  }
});

test("endingOf takes events of no known kind as whole between two events", () => {
  const type = "text/event-stream";
  assertEquals(endingOf(type, "data: a\n\ndata: b\n\n"), "open");
  assertEquals(endingOf(type, 'data: {"error":null}\n\n'), "open");
  assertEquals(endingOf(type, "data: a\n\ndata: b\n\ndata: [DONE]\n\n"), "final");
  assertEquals(reason(endingOf(type, "data: a\n\ndata: b")), "it was cut inside an event");
  assertEquals(reason(endingOf(type, "data: a\n\nevent: b\n")), "it was cut inside an event");
  assertEquals(reason(endingOf(type, ": ping\n\n")), "it ended before its first event");
});

test("endingOf takes lines of JSON as whole when each parses", () => {
  for (const type of ["application/x-ndjson", "application/jsonl", "application/json-seq"]) {
    assertEquals(endingOf(type, '{"a":1}\n[2]\n'), "open");
    assertEquals(endingOf(type, '\x1E{"a":1}\n\x1E{"b":2}\n'), "open");
    assertEquals(reason(endingOf(type, '{"a":1}\n{"a":')), "it was cut inside an event");
    assertEquals(reason(endingOf(type, "")), "it ended before its first event");
  }
});

test("endingOf wants an end of each of several choices", () => {
  const type = "text/event-stream";
  const chunk = (index: number, finish_reason: string | null) =>
    `data: ${JSON.stringify({ choices: [{ index, delta: {}, finish_reason }] })}\n\n`;
  const done = "data: [DONE]\n\n";
  const both = chunk(0, null) + chunk(1, null) + chunk(0, "length");
  assertEquals(
    reason(endingOf(type, both + done)),
    "it ended before its last event (finish_reason 1)",
  );
  assertEquals(endingOf(type, both + chunk(1, "stop") + done), "final");
  // The first chunk of Azure has a verdict on the prompt, and no choice.
  assertEquals(
    reason(endingOf(type, `data: {"choices":[]}\n\n${done}`)),
    "it ended before its last event (finish_reason 0)",
  );
});
