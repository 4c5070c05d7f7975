// @ts-types="./aes_gcm.d.ts"
export { decryptAesGcm, encryptAesGcm } from "npm:deno-std@1.4.0/crypto/aes_gcm.js";
export type { AesGcmOptions, Uint8Array_ } from "./aes_gcm.d.ts";
