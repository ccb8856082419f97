/** `security_*`: signed messages. */
import { name, nullable } from "../parse.ts";
import { notYet } from "../setting.ts";

/** A text, or bytes. */
const secret = {
  expects: "a text or bytes",
  parse: (given: unknown): string | Uint8Array | undefined =>
    typeof given === "string" || given instanceof Uint8Array ? given : undefined,
};

export const securitySettings = {
  securityCertificate: notYet(nullable(name), null, "File of our certificate."),
  securityCertStore: notYet(nullable(name), null, "Files of the certificates trusted, as a glob."),
  securityKey: notYet(nullable(name), null, "File of our private key."),
  securityKeyPassword: notYet(nullable(secret), null, "Pass phrase of that key."),
  securityDigest: notYet(name, "sha256", "Hash that is signed."),
};
