/** What `tq multi` without a command, or with a wrong one, says. */
export const usage = `usage: tq multi start <node1 node2 nodeN|range> [worker options]
       tq multi stop <n1 n2 nN|range> [-SIG (default: -TERM)]
       tq multi stopwait <n1 n2 nN|range> [-SIG (default: -TERM)]
       tq multi restart <n1 n2 nN|range> [-SIG] [worker options]
       tq multi reload <n1 n2 nN|range> [worker options]
       tq multi kill <n1 n2 nN|range>
       tq multi reopen <n1 n2 nN|range>
       tq multi run <n1 n2 nN|range> [worker options]

       tq multi status <n1 n2 nN|range>
       tq multi show <n1 n2 nN|range> [worker options]
       tq multi get hostname <n1 n2 nN|range> [worker options]
       tq multi names <n1 n2 nN|range>
       tq multi expand template <n1 n2 nN|range>
       tq multi help

additional options (must appear after command name):

    * --nosplash:         Don't display program info.
    * --quiet:            Don't show as much output.
    * --verbose:          Show more output.
    * --no-color:         Don't display colors.
    * --no-wait:          Start nodes without waiting until they are ready.
    * --timeout=SECONDS:  How long to wait for nodes that start (60) or stop (no limit).

of names and commands:

    * --hostname, -n:     Host part of the names.
    * --prefix, --suffix, --range-prefix:  Before and after each name.
    * --cmd, --append, --executable:       What is started, what is added to it, and by which Node.

of run:

    * --keep-nodes:             Leave the nodes running when the supervisor ends.
    * --max-restarts=5:         Give up on a node after so many failed starts in a row.
    * --restart-delay=SECONDS:  Before the first restart (1); it doubles, up to 30.
    * --no-prefix:              Print lines of the nodes as they are.
`;

/** What `tq multi help` says. */
export const help = `${usage}
Examples
========

    $ # Single node with an explicit name and events enabled.
    $ tq multi start Leslie -E

    $ # Pidfiles and logfiles are stored in the current directory
    $ # by default.  Use --pidfile and --logfile to change this.
    $ # The abbreviation %n is expanded to the node's name.
    $ tq multi start Leslie -E --pidfile=/var/run/celery/%n.pid
                               --logfile=/var/log/celery/%n%I.log

    $ # You need to give the same arguments when you restart,
    $ # as they are not stored anywhere.
    $ tq multi restart Leslie -E --pidfile=/var/run/celery/%n.pid
                                 --logfile=/var/log/celery/%n%I.log

    $ # To stop the node, you need to give the same pidfile.
    $ tq multi stop Leslie --pidfile=/var/run/celery/%n.pid

    $ # 3 nodes, with 3 processes each
    $ tq multi start 3 -c 3
    tq worker -n celery1@myhost -c 3
    tq worker -n celery2@myhost -c 3
    tq worker -n celery3@myhost -c 3

    $ # another name before the number
    $ tq multi start 3 --range-prefix=worker -c 3
    tq worker -n worker1@myhost -c 3
    tq worker -n worker2@myhost -c 3
    tq worker -n worker3@myhost -c 3

    $ # 3 named nodes
    $ tq multi start image video data -c 3
    tq worker -n image@myhost -c 3
    tq worker -n video@myhost -c 3
    tq worker -n data@myhost -c 3

    $ # another host in the names
    $ tq multi start 2 --hostname=worker.example.com -c 3
    tq worker -n celery1@worker.example.com -c 3
    tq worker -n celery2@worker.example.com -c 3

    $ # whole names
    $ tq multi start foo@worker.example.com bar@worker.example.com -c 3

    $ # whole names, with the host of this machine
    $ tq multi start foo@%h bar@%h

    $ # 10 nodes in the background:
    $ #   * three of them work on the queues images and video
    $ #   * two of them work on the queue data, with log level DEBUG
    $ #   * the rest works on the queue default.
    $ tq multi start 10 -l INFO -Q:1-3 images,video -Q:4,5 data
        -Q default -L:4,5 DEBUG

    $ # The commands that start the nodes are shown by 'show'.
    $ tq multi show 10 -l INFO -Q:1-3 images,video -Q:4,5 data
        -Q default -L:4,5 DEBUG

    $ # 3 nodes: two with 3 processes, and one with 10.
    $ tq multi start 3 -c 3 -c:1 10
    tq worker -n celery1@myhost -c 10
    tq worker -n celery2@myhost -c 3
    tq worker -n celery3@myhost -c 3

    $ # options of named nodes
    $ tq multi start image video data -c 3 -c:image 10
    tq worker -n image@myhost -c 10
    tq worker -n video@myhost -c 3
    tq worker -n data@myhost -c 3

    $ # ranges and lists of nodes in options
    $ # (-c:1-3 can also be written as -c:1,2,3)
    $ tq multi start 5 -c 3 -c:1-3 10
    tq worker -n celery1@myhost -c 10
    tq worker -n celery2@myhost -c 10
    tq worker -n celery3@myhost -c 10
    tq worker -n celery4@myhost -c 3
    tq worker -n celery5@myhost -c 3

    $ # lists of named nodes
    $ tq multi start foo bar baz xuzzy -c 3 -c:foo,bar,baz 10
    tq worker -n foo@myhost -c 10
    tq worker -n bar@myhost -c 10
    tq worker -n baz@myhost -c 10
    tq worker -n xuzzy@myhost -c 3

    $ # new processes for all nodes, one after the other, with nothing standing still
    $ tq multi reload 3 -c 3

    $ # in the foreground, kept running: for containers and systemd
    $ tq multi run 3 -c 3
`;
