"""The process that moves bytes, as it is started: `python -m connect_helper.transfers.worker_process`."""

from connect_helper.loading import quickly

if __name__ == "__main__":
    with quickly():
        from connect_helper.transfers.worker import main

    main()
