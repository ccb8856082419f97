import { expect, test } from "vitest";
import { normalizeAccept } from "../../src/serialization/registry.ts";
import { judgeSuperuser } from "../../src/worker/superuser.ts";

const user = { uid: 1000, euid: 1000, gid: 1000, egid: 1000, groups: ["users"] };
const root = { uid: 0, euid: 0, gid: 0, egid: 0, groups: ["root"] };
const json = normalizeAccept(["json"]);
const pickle = normalizeAccept(["json", "pickle"]);

test("an ordinary user may accept what it likes, and a system without users knows no root", () => {
  expect(judgeSuperuser(user, pickle, {})).toEqual({ kind: "fine" });
  const nobody = { uid: undefined, euid: undefined, gid: undefined, egid: undefined, groups: [] };
  expect(judgeSuperuser(nobody, pickle, {})).toEqual({ kind: "fine" });
});

test("root is warned, also when only in effect, and so is a group that may become root", () => {
  for (const ids of [root, { ...user, euid: 0 }, { ...user, groups: ["sudo"] }, { ...user, groups: ["wheel"] }]) {
    const verdict = judgeSuperuser(ids, json, {});
    expect(verdict).toMatchObject({ kind: "warn", text: expect.stringContaining("superuser privileges") });
    expect(verdict).toMatchObject({ text: expect.stringContaining(`uid=${ids.uid} euid=${ids.euid}`) });
  }
});

test("root is refused pickle and yaml, by name or by content type, unless it is forced", () => {
  for (const accept of [["pickle"], ["application/x-python-serialize"], ["yaml"], ["application/x-yaml", "json"]]) {
    const verdict = judgeSuperuser(root, normalizeAccept(accept), {});
    expect(verdict).toMatchObject({
      kind: "refuse",
      text: expect.stringMatching(/with (pickle|yaml) is a very bad idea/),
    });
    expect(verdict).toMatchObject({ text: expect.stringContaining("C_FORCE_ROOT") });
  }
  expect(judgeSuperuser(root, pickle, { C_FORCE_ROOT: "1" }).kind).toBe("warn");
  expect(judgeSuperuser(root, pickle, { TQ_FORCE_ROOT: "1" }).kind).toBe("warn");
  expect(judgeSuperuser(root, pickle, { C_FORCE_ROOT: "" }).kind).toBe("refuse");
});
