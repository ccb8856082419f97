/** Bytes that a base64 text of this length stands for, or up to two more. */
export function bytesOfBase64(text: { readonly length: number }): number {
  return Math.ceil((text.length * 3) / 4);
}

/** What makes a body of this size undeliverable; null when it is within the limit. Both in bytes. */
export function damageOfSize(size: number, limit: number): string | null {
  return size > limit ? `its body has ${size} bytes, more than the ${limit} allowed` : null;
}
