"""The paper's Table 3: rows, summary, figure, files."""
