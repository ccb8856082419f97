import { platformSystem } from "../system/platform.ts";
import { name, version } from "../version.ts";

/** What a worker's events say of its software (protocol 12.3). */
export function softwareInfo(): { readonly sw_ident: string; readonly sw_ver: string; readonly sw_sys: string } {
  return { sw_ident: name, sw_ver: version, sw_sys: platformSystem() };
}
