/**
 * Work on the files of a folder: missing files, files of other programs, and whole writes.
 *
 * @module
 */

import { builtin } from "../base/runtime.ts";
import { sleep } from "../base/turn.ts";
import { limitConcurrency } from "../limits/permits.ts";
import { isOurs } from "./file.ts";

/** Each piece of work holds a descriptor, of which a process may have 256. */
const limited = limitConcurrency(32)(
  <Result>(work: (fs: typeof import("node:fs/promises")) => Promise<Result>): Promise<Result> => {
    const fs = builtin("node:fs")?.promises;
    return fs === undefined ? Promise.reject(new Error("this runtime has no node:fs")) : work(fs);
  },
);

/** The code of an error of the file system: `ENOENT`. */
function codeOf(error: unknown): string {
  return error instanceof Error ? String(Reflect.get(error, "code") ?? "") : "";
}

/** The reason of an error, without the path, which holds a user's key. */
export function reasonOf(error: unknown): unknown {
  const code = codeOf(error);
  if (code === "" || !(error instanceof Error)) return error;
  const [reason = code] = /^E[A-Z]+: [^,']+/.exec(error.message) ?? [];
  return Object.assign(new Error(reason), { code });
}

/** The way out of an error, where it is known. */
export function adviceOf(error: unknown): string | undefined {
  const code = codeOf(error);
  if (error instanceof ForeignFileError) return "move it away, or use another folder";
  if (code === "ENOTDIR" || code === "EEXIST") return "use the path of a folder";
  if (code === "EROFS") return "use another folder, or CACHE_ONLY=1 to write nothing";
  if (code === "EACCES" || code === "EPERM") return "let this process read and write the folder";
  return undefined;
}

/** The error for a file of another program in the place of an entry. */
export class ForeignFileError extends Error {
  /** Takes nothing: the path holds a user's key. */
  constructor() {
    super("a file that is not of this library is in the place of the entry");
  }
}

/** Does work, and returns `undefined` where it fails with one of these codes. */
async function unless<Result>(
  codes: string,
  work: () => Promise<Result>,
): Promise<Result | undefined> {
  try {
    return await work();
  } catch (error) {
    const code = codeOf(error);
    if (code !== "" && codes.split(" ").includes(code)) return undefined;
    throw error;
  }
}

/** Repeats work, for half a second, that Windows refuses while others have the file open. */
export async function insist(work: () => Promise<void>): Promise<void> {
  for (let pause = 1;; pause *= 2) {
    try {
      return await work();
    } catch (error) {
      if (pause > 256 || !["EPERM", "EACCES", "EBUSY"].includes(codeOf(error))) throw error;
    }
    await sleep(pause);
  }
}

/**
 * The text of a file of ours; `undefined` where there is none.
 *
 * @throws {ForeignFileError} If it is not ours.
 */
export async function read(path: string): Promise<string | undefined> {
  const text = await unless("ENOENT", () => limited((fs) => fs.readFile(path, "utf8")));
  if (text !== undefined && !isOurs(text)) throw new ForeignFileError();
  return text;
}

/** The text of a file; `undefined` also where it is not ours, or a folder. */
export async function readOurs(path: string): Promise<string | undefined> {
  try {
    return await unless("EISDIR", () => read(path));
  } catch (error) {
    if (error instanceof ForeignFileError) return undefined;
    throw error;
  }
}

/** The names in a folder, none where it is missing. */
export async function list(folder: string): Promise<string[]> {
  return await unless("ENOENT", () => limited((fs) => fs.readdir(folder))) ?? [];
}

/** The names in a folder inside the root, none where a file is in its place. */
export async function listInner(root: string, folder: string): Promise<string[]> {
  const names = await unless("ENOTDIR", () => list(`${root}/${folder}`));
  // A file in the place of the root is a failure.
  if (names === undefined) await list(root);
  return names ?? [];
}

/** Removes a file of ours, if it is there. */
export async function remove(path: string): Promise<void> {
  if (await readOurs(path) === undefined) return;
  await unless("ENOENT", () => limited((fs) => fs.unlink(path)));
}

/** Whether a file is there that was not changed since a time, in milliseconds. */
export async function isOlder(path: string, time: number): Promise<boolean> {
  const state = await unless("ENOENT", () => limited((fs) => fs.stat(path)));
  return state !== undefined && state.mtimeMs < time;
}

/**
 * Writes a file of ours whole, or not at all, and makes a missing folder.
 *
 * @throws {ForeignFileError} If a file that is not ours is there.
 */
export async function replace(folder: string, name: string, text: string): Promise<void> {
  const path = `${folder}/${name}`;
  await read(path);
  const temporary = `${path}.${crypto.randomUUID()}.tmp`;
  await limited(async ({ mkdir, rename, rm, writeFile }) => {
    const write = () => writeFile(temporary, text, { flag: "wx" }).then(() => true);
    try {
      if (await unless("ENOENT", write) === undefined) {
        await mkdir(folder, { recursive: true });
        await write();
      }
      await insist(() => rename(temporary, path));
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {});
      throw error;
    }
  });
}
