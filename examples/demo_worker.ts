/**
 * The expensive part of demo.ts: finds the best brotli settings for a text, and counts its words.
 *
 * It has its own thread because Deno's `node:zlib` compresses on the thread that calls it.
 */
import { parentPort } from "node:worker_threads";
import { brotliCompressSync, constants } from "node:zlib";

/** The analysis of a text. */
export interface Analysis {
  /** Bytes of UTF-8. */
  readonly bytes: number;
  /** Bytes with the best settings. */
  readonly compressed: number;
  /** The best settings. */
  readonly settings: { readonly mode: number; readonly window: number };
  readonly words: number;
  readonly distinctWords: number;
}

/** The settings are searched on the beginning of a text: 30 runs over megabytes take minutes. */
const SAMPLE_BYTES = 64 * 1024;

const MODES = [constants.BROTLI_MODE_GENERIC, constants.BROTLI_MODE_TEXT];

function compressedSize(data: Uint8Array, mode: number, window: number) {
  return brotliCompressSync(data, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
      [constants.BROTLI_PARAM_MODE]: mode,
      [constants.BROTLI_PARAM_LGWIN]: window,
      [constants.BROTLI_PARAM_SIZE_HINT]: data.length,
    },
  }).length;
}

function analyse(text: string): Analysis {
  const data = new TextEncoder().encode(text);
  const sample = data.subarray(0, SAMPLE_BYTES);
  let best = { mode: 0, window: 0, size: Infinity };
  for (const mode of MODES) {
    for (
      let window = constants.BROTLI_MIN_WINDOW_BITS;
      window <= constants.BROTLI_MAX_WINDOW_BITS;
      window++
    ) {
      const size = compressedSize(sample, mode, window);
      if (size < best.size) best = { mode, window, size };
    }
  }
  const { mode, window, size } = best;
  const words = text.toLowerCase().match(/\p{L}+/gu) ?? [];
  return {
    bytes: data.length,
    compressed: sample.length === data.length
      ? size
      : compressedSize(data, mode, constants.BROTLI_MAX_WINDOW_BITS),
    settings: { mode, window },
    words: words.length,
    distinctWords: new Set(words).size,
  };
}

parentPort?.on("message", (text: string) => {
  parentPort?.postMessage(analyse(text));
});
