/** Done, or stopped as asked. */
export const EX_OK = 0;
/** It did not work; the message says why. */
export const EX_FAILURE = 1;
/** The command line cannot be understood, or its app cannot be loaded; click's code, and so Celery's. */
export const EX_USAGE = 2;
/** Broker, result store or workers cannot be reached, or nobody answered (sysexits.h). */
export const EX_UNAVAILABLE = 69;
/** A file that must be made cannot be: above all a pidfile that is held (sysexits.h). */
export const EX_CANTCREAT = 73;
/** No permission for what was asked, such as changing the user (sysexits.h). */
export const EX_NOPERM = 77;
