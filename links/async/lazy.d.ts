export declare class Lazy<T> {
  constructor(init: () => T | PromiseLike<T>);
  get(options?: { signal?: AbortSignal }): Promise<T>;
  peek(): { ok: true; value: T } | { ok: false };
  reset(): void;
}
