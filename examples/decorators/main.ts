/**
 * Methods that are cached and limited by decorators. Node needs them compiled: `npm install && npm
 * start`. Bun compiles nothing beforehand: `bun install && bun main.ts`.
 */

import { limitConcurrency, SQLiteCache } from "@panza/panza";

await using cache = new SQLiteCache(".cache/decorators.db");

let runs = 0;

class Translator {
  constructor(readonly language: string) {}

  // Translators of one language share their results.
  @cache.cache({
    id: "Translator.translate",
    this: (translator: Translator) => translator.language,
  })
  @limitConcurrency(2)
  async translate(text: string): Promise<string> {
    runs++;
    return await Promise.resolve(`${text} in ${this.language}`);
  }

  // A static method needs no `this`: there is one class.
  @cache.cache({ id: "Translator.languages" })
  static async languages(): Promise<string[]> {
    runs++;
    return await Promise.resolve(["French", "Greek"]);
  }
}

for (const language of await Translator.languages()) {
  const texts = ["good morning", "good night", "good morning"];
  const translator = new Translator(language);
  console.log(await Promise.all(texts.map((text) => translator.translate(text))));
}
console.log(`${runs} runs`); // 5 at first, 0 from then on
