import type { AutoscaleFacts } from "tq";

/** A rule of one's own: everybody as soon as there is anything to do. */
export const autoscale = ({ load, min, max }: AutoscaleFacts): number => (load > 0 ? max : min);
