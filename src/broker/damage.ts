/** What makes a body of this size undeliverable; null when it is within the limit. Both in bytes. */
export function damageOfSize(size: number, limit: number): string | null {
  return size > limit ? `its body has ${size} bytes, more than the ${limit} allowed` : null;
}
