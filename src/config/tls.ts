import { ImproperlyConfigured } from "../errors.ts";
import { isRecord } from "./parse.ts";
import type { Rule } from "./setting.ts";

/** How to encrypt a connection. Files are paths; whoever connects reads them. */
export interface TlsOptions {
  /** Whether a certificate that cannot be verified ends the connection. */
  readonly rejectUnauthorized: boolean;
  /** Whether the certificate must be for the host connected to. */
  readonly checkHostname: boolean;
  /** File of the trusted certificates; null means those this runtime trusts. */
  readonly ca: string | null;
  /** File of our own certificate. */
  readonly cert: string | null;
  /** File of our own key. */
  readonly key: string | null;
  /** Pass phrase of our own key. */
  readonly passphrase: string | null;
  /** Host name to ask the server for, when it is not the one connected to. */
  readonly servername: string | null;
}

/** Encrypted and verified, by the authorities this runtime trusts. */
export const verifiedTls: TlsOptions = Object.freeze({
  rejectUnauthorized: true,
  checkHostname: true,
  ca: null,
  cert: null,
  key: null,
  passphrase: null,
  servername: null,
});

/** Python's `ssl.CERT_*`, by name, by the words redis-py takes, and by number. */
const certReqs: ReadonlyMap<string, boolean> = new Map([
  ["required", true],
  ["optional", true],
  ["none", false],
  ["2", true],
  ["1", true],
  ["0", false],
]);

/** Our names for the options as redis-py (`ssl_ca_certs`), Python (`ca_certs`) and Node (`ca`) spell them. */
const fileNames: Readonly<Record<string, "ca" | "cert" | "key" | "passphrase" | "servername">> = {
  ca: "ca",
  ca_certs: "ca",
  cert: "cert",
  certfile: "cert",
  key: "key",
  keyfile: "key",
  password: "passphrase",
  passphrase: "passphrase",
  server_hostname: "servername",
  servername: "servername",
};

/** Whether a name in a URL's query is about encryption. */
export const isTlsOption = (name: string): boolean => name.startsWith("ssl_");

/**
 * Reads the options of an encrypted connection in the spellings of redis-py, Python's `ssl` and
 * Node, with or without `ssl_` before them. What is left out is verified. Throws
 * `ImproperlyConfigured` for a wrong value; `where` says in which setting or URL.
 */
export function readTlsOptions(given: Readonly<Record<string, unknown>>, where: string): TlsOptions {
  const read: { -readonly [Key in keyof TlsOptions]: TlsOptions[Key] } = { ...verifiedTls };
  for (const [spelled, value] of Object.entries(given)) {
    if (value === null || value === undefined) continue;
    const option = spelled.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`).replace(/^ssl_/, "");
    const file = Object.hasOwn(fileNames, option) ? fileNames[option] : undefined;
    if (option === "cert_reqs") {
      const word = String(value)
        .toLowerCase()
        .replace(/^(verifymode\.)?cert_/, "");
      const verify = certReqs.get(word);
      if (verify === undefined) {
        throw new ImproperlyConfigured(
          `${spelled} in ${where} must be required, optional or none (or CERT_REQUIRED, CERT_OPTIONAL, CERT_NONE), got: ${word}`,
        );
      }
      read.rejectUnauthorized = verify;
    } else if (option === "reject_unauthorized") {
      read.rejectUnauthorized = value !== false && value !== "false";
    } else if (option === "check_hostname") {
      read.checkHostname = value !== false && String(value).toLowerCase() !== "false";
    } else if (file) {
      if (typeof value !== "string") {
        throw new ImproperlyConfigured(`${spelled} in ${where} must be a text (a file's path), got: ${typeof value}`);
      }
      read[file] = value;
    }
  }
  if (!read.rejectUnauthorized) read.checkHostname = false;
  return Object.freeze(read);
}

/** `true`, or the options of an encrypted connection as an object; `false` and null are for none. */
export const useSsl: Rule<TlsOptions | false | null, boolean | Readonly<Record<string, unknown>> | null> = {
  expects: "true, false or an object such as { ca_certs: path, cert_reqs: 'required' }",
  example: true,
  parse: (given) => {
    if (given === null || given === false || given === "false") return given === null ? null : false;
    if (given === true || given === "true") return verifiedTls;
    return isRecord(given) ? readTlsOptions(given, "the TLS options") : undefined;
  },
};
