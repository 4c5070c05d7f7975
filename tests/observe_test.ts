/** The recipe of docs/observe.md that needs OpenTelemetry; the others run as doc blocks. */
import { AsyncLocalStorage } from "node:async_hooks";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  type Context,
  context,
  metrics,
  ROOT_CONTEXT,
  SpanStatusCode,
  trace,
} from "@opentelemetry/api";
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { openTelemetry } from "../examples/observe/opentelemetry.ts";
import { MemoryCache } from "../memory.ts";

function read(path: string): string {
  return readFileSync(new URL(`../${path}`, import.meta.url), "utf8");
}

/** Keeps the active span across awaits, as the SDK for Node does. */
function keepContext(): void {
  const storage = new AsyncLocalStorage<Context>();
  context.setGlobalContextManager({
    active: () => storage.getStore() ?? ROOT_CONTEXT,
    with: (active, fn, self, ...args) => storage.run(active, () => Reflect.apply(fn, self, args)),
    bind: (_, target) => target,
    enable() {
      return this;
    },
    disable() {
      return this;
    },
  });
}

test("docs/observe.md shows the recipe for OpenTelemetry that is tested here", () => {
  const page = read("docs/observe.md");
  assertStringIncludes(
    page,
    `\`\`\`ts ignore\n${read("examples/observe/opentelemetry.ts")}\`\`\`\n`,
  );
  assert(new TextEncoder().encode(page).length <= 6_000, "6 kB");
});

test("The recipe for OpenTelemetry makes a span of each call below its caller's, and counts", async () => {
  const spans = new InMemorySpanExporter();
  const sums = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({
    exporter: sums,
    exportIntervalMillis: 3_600_000,
  });
  trace.setGlobalTracerProvider(
    new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }),
  );
  metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }));
  keepContext();
  await using cache = new MemoryCache({ onCall: openTelemetry() });
  const ask = cache.cache({ id: "ask" })(async (question: string): Promise<string> => {
    if (question === "bad") throw new Error("secret");
    return await Promise.resolve(question.toUpperCase());
  });

  const parent = trace.getTracer("test").startSpan("request");
  await context.with(trace.setSpan(context.active(), parent), async () => {
    await ask("one");
    await ask("one");
    await ask("bad").catch(() => {});
  });
  parent.end();

  const own = spans.getFinishedSpans().filter(({ name }) => name === "panza ask");
  assertEquals(own.map(({ attributes, status }) => [attributes["panza.status"], status.code]), [
    ["miss", SpanStatusCode.UNSET],
    ["hit", SpanStatusCode.UNSET],
    ["failed", SpanStatusCode.ERROR],
  ]);
  const { spanId } = parent.spanContext();
  assertEquals(
    own.map(({ parentSpanContext }) => parentSpanContext?.spanId),
    Array(3).fill(spanId),
  );
  assertEquals(own[0]?.attributes["panza.key"], await ask.key("one"));
  assert(
    !JSON.stringify(own.map(({ attributes, events }) => [attributes, events])).includes("secret"),
  );

  await reader.forceFlush();
  const found = sums.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics)
    .flatMap((scope) => scope.metrics);
  const calls = found.find(({ descriptor }) => descriptor.name === "panza.calls");
  assertEquals(
    calls?.dataPoints.map(({ attributes, value }) => [attributes["panza.status"], value]),
    [["miss", 1], ["hit", 1], ["failed", 1]],
  );
  await reader.shutdown();
});
