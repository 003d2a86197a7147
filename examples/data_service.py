"""Starts a dispatcher or a worker of a tf.data service (docs/data_service.md).

    python data_service.py --port=5050                              # the dispatcher
    python data_service.py --port=5051 --dispatcher=10.0.0.5:5050   # a worker, on any machine

It needs TensorFlow only. Both run until they are stopped.
"""

import os
import socket

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_integer("port", 0, "Port to listen at; 0: any free one.")
flags.DEFINE_string("dispatcher", "", "host:port of the dispatcher. Empty: to be the dispatcher.")
flags.DEFINE_string("host", "", "Under which trainers reach this worker. Empty: the host's name.")


def main(argv):
    """Starts the server, says where it listens, and waits."""
    if argv[1:]:
        raise app.UsageError(f"there are flags only. Received: {argv[1:]}.")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # TensorFlow would take all memory of a GPU
    import tensorflow as tf

    service = tf.data.experimental.service
    if FLAGS.dispatcher:
        config = service.WorkerConfig(
            FLAGS.dispatcher,
            worker_address=f"{FLAGS.host or socket.gethostname()}:%port%",
            port=FLAGS.port,
        )
        server = service.WorkerServer(config)
        print(f"worker of {FLAGS.dispatcher}", flush=True)
    else:
        server = service.DispatchServer(service.DispatcherConfig(port=FLAGS.port))
        print(f"dispatcher at {server.target}", flush=True)
    server.join()


if __name__ == "__main__":
    app.run(main)
