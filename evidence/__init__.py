"""What scores are evidence of: which differences are noise, and what the best score would be without the luck.

Pure functions of predictions and scores, with numpy and scipy alone. In shapes: N examples of a task, T trials (or
configs), B draws, S seeds.
"""
