"""From values to text: JSON for programs, plain lines for pipes, tables for people."""
