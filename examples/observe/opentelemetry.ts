import { metrics, SpanStatusCode, trace } from "@opentelemetry/api";
import type { CallEvent } from "@panza/panza";

/** An `onCall` that makes a span of each call, and counts calls and the time that hits saved. */
export function openTelemetry(): (call: CallEvent) => void {
  const tracer = trace.getTracer("panza");
  const meter = metrics.getMeter("panza");
  const calls = meter.createCounter("panza.calls");
  const saved = meter.createCounter("panza.saved", { unit: "ms" });
  return ({ id, key, status, durationMs, bytes, unstored }) => {
    const isRun = status === "miss" || status === "failed";
    const end = Date.now();
    const span = tracer.startSpan(`panza ${id}`, {
      // The cost of a hit was paid earlier.
      startTime: isRun ? end - durationMs : end,
      attributes: {
        "panza.id": id,
        "panza.key": key,
        "panza.status": status,
        "panza.bytes": bytes,
        ...(unstored !== undefined && { "panza.unstored": unstored }),
      },
    });
    if (status === "failed") span.setStatus({ code: SpanStatusCode.ERROR });
    span.end(end);
    calls.add(1, { "panza.id": id, "panza.status": status });
    if (!isRun) saved.add(durationMs, { "panza.id": id });
  };
}
