/** Work on files that Windows refuses for a moment. */
import { test } from "node:test";
import { assertEquals, assertRejects } from "@std/assert";
import { insist } from "../../src/folder/files.ts";

/** Work that fails with each code in turn and then succeeds, and the number of its attempts. */
async function attempts(...codes: string[]): Promise<number> {
  let count = 0;
  await insist(() => {
    const code = codes[count++];
    if (code === undefined) return Promise.resolve();
    return Promise.reject(Object.assign(new Error(code), { code }));
  });
  return count;
}

test("insist() does again what Windows refuses for a moment, and nothing else", async () => {
  assertEquals(await attempts(), 1);
  assertEquals(await attempts("EPERM", "EACCES", "EBUSY"), 4);
  await assertRejects(() => attempts("ENOSPC"), Error, "ENOSPC");
  await assertRejects(() => attempts("EBUSY", "EROFS"), Error, "EROFS");
  await assertRejects(() => attempts(...new Array(20).fill("EPERM")), Error, "EPERM");
});
