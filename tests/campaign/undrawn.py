"""`ablate` without its figures, which take longer than the whole training here and are not what is tested."""

from ablate.cli import main

if __name__ == "__main__":  # a worker imports this file, too, and must not begin a run of its own
    import ablate.report.figures

    ablate.report.figures.draw_figures = lambda *_: {}
    main()
