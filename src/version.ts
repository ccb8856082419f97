/** What tq calls itself in `hello`, events, reports and the banner. */
export const name = "tq";
export const version = "0.2.0";
export const codename = "first light";
