/**
 * Prints the titles of web pages. Each page is fetched once a week, hosts side by side, and the
 * pages of one host one after the other. Killed and run again, it goes on from there.
 *
 *     deno run --allow-env=BUST_CACHE,CACHE_ONLY,PRINT_CACHE_MISSES --allow-net --allow-read \
 *       --allow-write=.cache examples/scraper.ts https://example.com/ https://example.org/
 */
// deno-lint-ignore-file no-console
import { limitConcurrency, limitRate, SQLiteCache } from "@panza/panza";
import { cachedFetch } from "@panza/panza/fetch";
import process from "node:process";

const TIMEOUT_MS = 30_000;

const deriveKey = (url: string): string => new URL(url).host;

/** Sends a request at its turn: its wait does not count towards the timeout. */
async function send(url: string, init: RequestInit = {}): Promise<Response> {
  const signals = [AbortSignal.timeout(TIMEOUT_MS), ...(init.signal ? [init.signal] : [])];
  return await fetch(url, { ...init, signal: AbortSignal.any(signals) });
}
const paced = limitRate(2, { per: "1s", deriveKey })(send);

async function main(urls: string[]): Promise<number> {
  await using cache = new SQLiteCache(".cache/scraper.db");
  const getPage = cachedFetch(cache, {
    id: "pages",
    methods: ["GET"],
    ttl: "7d",
    retry: { attempts: 4 },
    limit: limitConcurrency(1, { deriveKey }),
    fetch: (input, init) => paced(String(input), init),
  });

  async function printTitle(url: string): Promise<boolean> {
    try {
      const response = await getPage(url);
      const [, title = "(no title)"] = /<title[^>]*>([^<]*)/i.exec(await response.text()) ?? [];
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      console.log(`${url}\t${title.trim()}`);
    } catch (error) {
      console.error(`${url}: ${(error as Error).message}`);
      return false;
    }
    return true;
  }

  const results = await Promise.all(urls.map(printTitle));
  const { hits, misses } = cache.stats();
  console.error(`${hits} pages kept from before, ${misses} fetched`);
  return results.every(Boolean) ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
