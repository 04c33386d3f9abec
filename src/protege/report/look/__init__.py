"""What networks see in the same held-out images, as one page: teacher, student alone and student taught, side by side.

seen     what each network makes of the images: features, logits, where it looks
plane    features as points in the plane, turned alike
follow   where a student follows its teacher, and where it does not
drawn    all of it as sections of a page
page     the page
"""
