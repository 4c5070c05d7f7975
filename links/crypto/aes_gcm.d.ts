export interface AesGcmOptions {
  additionalData?: BufferSource;
}
export type Uint8Array_ = ReturnType<Uint8Array["slice"]>;
export declare function encryptAesGcm(
  key: CryptoKey,
  plaintext: BufferSource,
  options?: AesGcmOptions,
): Promise<Uint8Array_>;
export declare function decryptAesGcm(
  key: CryptoKey,
  data: BufferSource,
  options?: AesGcmOptions,
): Promise<Uint8Array_>;
